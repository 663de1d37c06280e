"""Structure error after the best alignment in time: is the body right, whenever it is there?"""

import numpy as np
from jaxtyping import Float

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score


class Metric(ClipMetric):
    """Structure error of each frame against the real frame that an alignment in time gives it."""

    score = Score(
        "structure_error_aligned",
        "Structure error, aligned in time",
        "%",
        -1,
        2,
        "Structure error of every generated frame against one real frame, which is never an earlier one than that of "
        "the frame before; of all ways to choose them, that with the smallest error. What is left is not the timing of "
        "the motion.",
    )
    needs = frozenset({"structure"})

    def measure(self, clip: Clip) -> Measurement:
        """The mean over frames."""
        return Measurement(aligned_structure_error(clip.structure, clip.reference_structure))


def aligned_structure_error(predicted: Float[np.ndarray, "f h w"], true: Float[np.ndarray, "g h w"]) -> float:
    """The least mean over frames of the absolute difference to real frames in an order that never goes back.

    Dynamic time warping in which every predicted frame has one real frame, and real frames may be passed over (Sakoe
    and Chiba 1978, without their limits on the slope).

    Args:
        predicted: Disparity in [0, 1] that the judge read.
        true: The true disparity.

    Returns:
        Percent of the clip's disparity range. Lower is better.
    """
    f, g = len(predicted), len(true)
    flat, real = (x.reshape(len(x), -1).astype(np.float64) for x in (predicted, true))
    costs = np.array([np.abs(frame - real).mean(axis=1) for frame in flat])
    # Of the first frames, the least total that ends at the real frame of each column or before it.
    least = np.zeros(g)
    for frame in range(f):
        least = np.minimum.accumulate(least + costs[frame])
    return float(100 * least[-1] / f)

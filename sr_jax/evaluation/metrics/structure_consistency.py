"""Structure consistency: the depth that a network sees in a generated clip, against what it sees in the real one."""

import numpy as np
from jaxtyping import Float

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score


class Metric(ClipMetric):
    """Mean absolute difference of disparities after the best scale and shift, in percent of the real clip's range."""

    score = Score(
        "structure_consistency",
        "Depth error",
        "%",
        -1,
        2,
        "One depth network reads the generated and the real frames; mean absolute difference of disparities in percent "
        "of the real clip's range, after one scale and one shift for the whole clip, which such depth leaves open.",
        by_frame="% of the depth range",
    )
    needs = frozenset({"depth"})

    def measure(self, clip: Clip) -> Measurement:
        """The mean over frames."""
        error = depth_error(clip.depth, clip.reference_depth)
        return Measurement(float(error.mean()), error)


def depth_error(depth: Float[np.ndarray, "f h w"], reference: Float[np.ndarray, "f h w"]) -> Float[np.ndarray, " f"]:
    """The error of every frame, in percent of the reference's range.

    Args:
        depth: Disparity of any scale.
        reference: Disparity of any other scale.

    Returns:
        `[F]`, at least 0; 0 for a depth that is the reference but for scale and shift.
    """
    depth, reference = depth.astype(np.float64), reference.astype(np.float64)
    centred, wanted = depth - depth.mean(), reference - reference.mean()
    variance = np.square(centred).mean()
    scale = (centred * wanted).mean() / variance if variance > 0 else 0.0
    extent = np.ptp(reference)
    error = np.abs(scale * centred - wanted).mean(axis=(1, 2))
    return 100 * error / extent if extent > 0 else np.zeros(len(error))

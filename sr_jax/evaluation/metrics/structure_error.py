"""Structure error: the depth that a judge reads from generated latents, against the true depth."""

import numpy as np
from jaxtyping import Float

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score


class Metric(ClipMetric):
    """Mean absolute difference of disparities, in percent of the clip's range."""

    score = Score(
        "structure_error",
        "Structure error",
        "%",
        -1,
        2,
        "A judge network reads the depth of every pixel from the generated latents; mean absolute difference to the "
        "depth that the dataset holds for the real clip (exact for rendered clips), in percent of that clip's range "
        "(disparity, near is large).",
        by_frame="% of the depth range",
    )
    needs = frozenset({"structure"})

    def measure(self, clip: Clip) -> Measurement:
        """The mean over frames."""
        error = structure_error(clip.structure, clip.reference_structure)
        return Measurement(float(error.mean()), error)


def structure_error(predicted: Float[np.ndarray, "f h w"], true: Float[np.ndarray, "f h w"]) -> Float[np.ndarray, " f"]:
    """Mean absolute difference of two normalised disparities, frame by frame.

    Args:
        predicted: Disparity in [0, 1] that the judge read, `[F, H, W]`.
        true: The true disparity, normalised over the clip as the judge learned it.

    Returns:
        Percent of the clip's disparity range, `[F]`. Lower is better.
    """
    return 100 * np.abs(predicted.astype(np.float64) - true.astype(np.float64)).mean(axis=(1, 2))

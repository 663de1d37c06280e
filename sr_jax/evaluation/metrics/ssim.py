"""Structural similarity of generated frames."""

import numpy as np
from jaxtyping import Float, UInt8
from skimage.metrics import structural_similarity

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score


class Metric(ClipMetric):
    """SSIM, mean over frames."""

    score = Score("ssim", "SSIM", "", +1, 4, "Structural similarity to the real clip, mean over frames.")

    def measure(self, clip: Clip) -> Measurement:
        """The mean over frames."""
        return Measurement(float(ssim(clip.video, clip.reference).mean()))


def ssim(generated: UInt8[np.ndarray, "f h w 3"], reference: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, " f"]:
    """SSIM of each frame with the settings of Wang et al. (2004): Gaussian window, sigma 1.5, 11 x 11.

    Args:
        generated: RGB frames `[F, H, W, 3]`, at least 11 x 11.
        reference: The real frames, of the same shape.

    Returns:
        SSIM for every frame, mean over the colour channels, `[F]`, at most 1. Higher is better.
    """
    return np.array(
        [
            structural_similarity(
                ours,
                real,
                channel_axis=-1,
                data_range=255,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for ours, real in zip(generated, reference, strict=True)
        ],
        np.float64,
    )

"""Peak signal-to-noise ratio of generated frames."""

import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score

# Equal frames have infinite PSNR, which no mean survives. 100 dB is far above what 8-bit frames that differ can reach
# in practice, and is the usual cap of video benchmarks.
_CAP_DB = 100.0


class Metric(ClipMetric):
    """PSNR, mean over frames."""

    score = Score("psnr", "PSNR", "dB", +1, 2, "Peak signal-to-noise ratio to the real clip, mean over frames.")

    def measure(self, clip: Clip) -> Measurement:
        """The mean over frames, not PSNR of the mean error."""
        return Measurement(float(psnr(clip.video, clip.reference).mean()))


def psnr(generated: UInt8[np.ndarray, "f h w 3"], reference: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, " f"]:
    """PSNR of each frame, as the paper's Table 1 reports it (there as the mean over frames and clips).

    Args:
        generated: RGB frames `[F, H, W, 3]`.
        reference: The real frames, of the same shape.

    Returns:
        `10 log10(255^2 / MSE)` in dB for every frame, `[F]`, at most 100. Higher is better.
    """
    difference = generated.astype(np.float64) - reference.astype(np.float64)
    mean_squared_error = np.mean(np.square(difference), axis=(1, 2, 3))
    smallest = 255.0**2 / 10 ** (_CAP_DB / 10)
    return 10 * np.log10(255.0**2 / np.maximum(mean_squared_error, smallest))

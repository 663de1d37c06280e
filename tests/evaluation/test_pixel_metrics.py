import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from skimage.metrics import peak_signal_noise_ratio

from sr_jax.evaluation.metrics.psnr import psnr
from sr_jax.evaluation.metrics.ssim import ssim


def _frames(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _ssim_reference(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, as it is written; only where the window fits."""
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / bell.sum() ** 2
    x, y = (sliding_window_view(v.astype(np.float64), (11, 11), axis=(0, 1)) for v in (a, b))

    def mean(v):
        return (v * window).sum(axis=(-2, -1))

    mx, my = mean(x), mean(y)
    dx, dy = x - mx[..., None, None], y - my[..., None, None]
    vx, vy, cov = mean(dx * dx), mean(dy * dy), mean(dx * dy)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


@pytest.mark.parametrize("shape", [(3, 16, 12, 3), (1, 24, 40, 3)])
def test_psnr_matches_skimage_frame_by_frame(shape):
    a, b = _frames(0, shape), _frames(1, shape)
    expected = [peak_signal_noise_ratio(y, x, data_range=255) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(psnr(a, b), expected, rtol=1e-12)


def test_psnr_of_equal_frames_is_capped():
    frames = _frames(0, (2, 8, 8, 3))
    np.testing.assert_array_equal(psnr(frames, frames), [100.0, 100.0])


@pytest.mark.parametrize("shape", [(2, 20, 16, 3), (1, 33, 21, 3)])
def test_ssim_matches_the_paper_of_wang(shape):
    a = _frames(0, shape)
    b = np.clip(a.astype(int) + np.random.default_rng(2).integers(-60, 60, shape), 0, 255).astype(np.uint8)
    expected = [_ssim_reference(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ssim(a, b), expected, rtol=1e-9)
    np.testing.assert_allclose(ssim(a, a), 1.0)

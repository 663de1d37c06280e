import cv2
import numpy as np
import pytest

from sr_jax.evaluation.flow import optical_flow


def _texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2.5)


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (-1, 1)])
def test_flow_of_a_sliding_texture_is_its_shift(dx, dy):
    image = _texture()
    frames = np.stack([image[20 - k * dy : 68 - k * dy, 20 - k * dx : 60 - k * dx] for k in range(3)])
    flow = optical_flow(frames)
    assert flow.shape == (2, 48, 40, 2)
    centre = flow[:, 10:-10, 10:-10].mean(axis=(0, 1, 2))
    np.testing.assert_allclose(centre, np.array([dx, dy]) * 100 / 48, atol=0.25)

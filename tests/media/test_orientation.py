"""All eight ways in which a file can say that its frames are shown."""

import numpy as np
import pytest

from sr_jax.media.decoding import scan_video
from sr_jax.media.video import read_video
from tests.media.files import smooth, write

_ONE = 1 << 16
# The first two numbers of the first two rows of a display matrix: stored (x, y) is shown at (a x + c y, b x + d y).
_SHOWN = {
    (1, 0, 0, 1): lambda pixels: pixels,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (-1, 0, 0, -1): lambda pixels: np.rot90(pixels, 2),
    (0, 1, -1, 0): lambda pixels: np.rot90(pixels, -1),
    (0, -1, 1, 0): lambda pixels: np.rot90(pixels, 1),
    (0, 1, 1, 0): lambda pixels: pixels.swapaxes(0, 1),
    (0, -1, -1, 0): lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("turn", _SHOWN)
def test_all_eight_orientations(tmp_path, turn):
    a, b, c, d = (number * _ONE for number in turn)
    frames = smooth()
    path = write(
        tmp_path / "a.mp4",
        frames,
        codec="libx264rgb",
        pixel_format="rgb24",
        matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30),
        qp="0",
    )
    expected = np.stack([_SHOWN[turn](pixels) for pixels in frames])
    np.testing.assert_array_equal(read_video(path)[0], expected)
    info = scan_video(path)
    assert (info.height, info.width) == expected.shape[1:3]


def test_an_angle_becomes_the_nearest_quarter_turn(tmp_path):
    # Five degrees off: a hand that trembled.
    tilt = np.deg2rad(85.0)
    a, b = round(np.cos(tilt) * _ONE), round(np.sin(tilt) * _ONE)
    path = write(
        tmp_path / "a.mp4",
        smooth(),
        codec="libx264rgb",
        pixel_format="rgb24",
        matrix=(a, b, 0, -b, a, 0, 0, 0, 1 << 30),
        qp="0",
    )
    np.testing.assert_array_equal(read_video(path)[0], np.rot90(smooth(), -1, axes=(1, 2)))

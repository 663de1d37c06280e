import cv2
import numpy as np
import pytest

from sr_jax.evaluation.metrics.cpbd import cpbd, edge_widths


def _bars(width: float, *, height: int = 96, size: int = 240) -> np.ndarray:
    """Grey values with edges that are so many pixels wide, up and down."""
    x = np.arange(size) % 80
    profile = np.interp(x, [0, 10, 10 + width, 50, 50 + width], [40, 40, 200, 200, 40])
    return np.tile(np.round(profile), (height, 1))


def _frame(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def _width_by_hand(row: np.ndarray, place: int) -> int:
    """Marziliano's width, step by step: as far as values go on falling to the one side and rising to the other."""
    sign = 1 if row[place + 1] > row[place - 1] else -1
    left = place - 1
    while left > 0 and sign * (row[left] - row[left - 1]) > 0:
        left -= 1
    right = place + 1
    while right < len(row) - 1 and sign * (row[right + 1] - row[right]) > 0:
        right += 1
    return (place - left) + (right - place)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_widths_are_those_of_marziliano(sigma):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80)).astype(np.float32)
    grey = np.round(cv2.GaussianBlur(noise, (0, 0), sigma)).astype(float)
    widths = edge_widths(grey)
    rows, columns = np.nonzero(widths)
    assert len(rows) > 50 and len(np.unique(widths)) > 3
    expected = [_width_by_hand(grey[row], column) for row, column in zip(rows, columns, strict=True)]
    np.testing.assert_array_equal(widths[rows, columns], expected)


def test_an_edge_is_as_wide_as_it_is():
    for width in (4, 8):
        found = edge_widths(_bars(width))
        # The steps of the ramp itself, and a pixel at its ends where the place is one of them.
        assert set(found[found > 0]) <= {width, width + 1} and (found > 0).any()


def test_sharp_frames_have_one_and_blurred_ones_none():
    assert cpbd(_frame(_bars(1))) == 1.0
    assert cpbd(_frame(_bars(9))) == 0.0
    assert cpbd(_frame(np.full((70, 70), 90.0))) == 0.0


def test_it_falls_with_blur():
    texture = cv2.resize(
        np.random.default_rng(1).integers(0, 256, (24, 24)).astype(np.uint8), (192, 192), None, 0, 0, 0
    )
    found = [cpbd(_frame(cv2.GaussianBlur(texture, (0, 0), sigma))) for sigma in (0.5, 1.0, 1.5, 2.5)]
    assert found == sorted(found, reverse=True) and found[0] > 0.9 and found[-1] < 0.1

import sys
from pathlib import Path

import numpy as np
import pytest

from sr_jax.demo import silhouette
from sr_jax.demo.silhouette import PersonMask, SilhouetteStandIn, relief
from sr_jax.errors import UserError
from sr_jax.preparation.people import PersonOptions, load_finder
from sr_jax.teachers.base import DepthTeacher


class Nobody:
    """A face detector, which is not asked."""

    name, weight_hash = "nobody", "none"

    def __call__(self, frames):
        raise AssertionError


def disc(size, radius):
    rows, columns = np.indices((size, size)) - (size - 1) / 2
    return (rows**2 + columns**2 <= radius**2).astype(np.float32)


def test_a_disc_becomes_half_a_ball():
    (values,) = relief(disc(65, 20)[None])
    centre = values[32]
    assert values[0].max() == 0
    assert centre[32] == 1
    distance = np.arange(33) - 12.0  # from the outline, which lies at column 12
    expected = 0.5 + 0.5 * np.sqrt(np.clip(1 - (1 - distance[13:] / distance[32]) ** 2, 0, 1))
    np.testing.assert_allclose(centre[13:33], expected, atol=0.06)
    np.testing.assert_array_equal(np.diff(centre[:33]) >= 0, True)


def test_the_thickest_place_of_the_whole_video_is_nearest():
    masks = np.stack([disc(65, 10), disc(65, 20)])
    thin, thick = relief(masks)
    assert thick.max() == 1
    assert 0.85 < thin.max() < 0.97


def test_a_person_goes_on_beyond_the_frame():
    mask = np.zeros((40, 40), np.float32)
    mask[:, 20:] = 1
    (values,) = relief(mask[None])
    assert (np.diff(values[20, 20:]) > 0).all()
    np.testing.assert_array_equal(values[0], values[39])


@pytest.mark.parametrize(("fill", "expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_a_frame_of_one_kind(fill, expected):
    np.testing.assert_allclose(relief(np.full((2, 8, 12), fill, np.float32)), expected)


class BrightnessNetwork:
    """Stands for the segmentation network: a person is where the image is bright."""

    def __init__(self, weights):
        assert weights.suffix == ".tflite"

    def __call__(self, values):
        assert values.shape == (1, 256, 256, 3) and values.dtype == np.float32
        return (values.mean(axis=-1, keepdims=True) > 0.5).astype(np.float32)


def test_it_is_a_depth_teacher_that_says_it_is_a_stand_in(tmp_path, monkeypatch):
    weights = tmp_path / "network.tflite"
    weights.write_bytes(b"weights")
    monkeypatch.setattr(silhouette, "LiteRtNetwork", BrightnessNetwork)
    teacher = SilhouetteStandIn(PersonMask(weights))
    assert isinstance(teacher, DepthTeacher) and "stand_in" in teacher.name
    frames = np.full((3, 48, 64, 3), 10, np.uint8)
    frames[:, 10:40, 20:50] = 250
    values = teacher(frames, 8.0, Path("unused.mp4"))
    assert values.shape == (3, 48, 64) and values.dtype == np.float32
    assert values[:, :8].max() == 0 and values[:, 25, 35].min() > 0.95
    assert ((values > 0.25).sum(axis=(1, 2)) == 30 * 30).all()


def test_a_missing_package_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    weights = tmp_path / "network.tflite"
    weights.write_bytes(b"weights")
    with pytest.raises(UserError, match="needs ai-edge-litert"):
        SilhouetteStandIn(PersonMask(weights))


def test_a_mask_gives_one_box(monkeypatch):
    class BrightMask(PersonMask):
        def __init__(self):
            pass

        @classmethod
        def from_package(cls, cache):
            return cls()

        def __call__(self, frame):
            return frame[..., 0].astype(np.float32) / 255

    monkeypatch.setattr(silhouette, "PersonMask", BrightMask)
    finder = load_finder(PersonOptions("sr_jax.demo.silhouette:load_finder"), Nobody())
    frames = np.zeros((2, 40, 60, 3), np.uint8)
    frames[1, 10:30, 20:25] = 255
    nobody, somebody = finder(frames)
    assert nobody.shape == (0, 4)
    assert somebody.tolist() == [[20, 10, 25, 30]]
    assert not finder.tells_apart

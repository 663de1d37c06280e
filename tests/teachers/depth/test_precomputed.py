import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.teachers.base import DepthTeacher
from sr_jax.teachers.depth.files import depth_path
from sr_jax.teachers.depth.precomputed import PrecomputedDepth

FRAMES = np.zeros((3, 4, 5, 3), np.uint8)


def read(tmp_path, **arrays):
    path = tmp_path / "clip.mp4"
    np.savez(tmp_path / "clip.depth.npz", **arrays)
    return PrecomputedDepth()(FRAMES, 8.0, path)


def test_depth_in_metres_becomes_disparity(tmp_path):
    depth = np.random.default_rng(0).uniform(0.5, 9, (3, 4, 5)).astype(np.float32)
    depth[0, 0, 0] = np.inf
    disparity = read(tmp_path, depth=depth)
    assert disparity.dtype == np.float32
    np.testing.assert_allclose(disparity, 1 / depth, rtol=1e-6)
    assert disparity[0, 0, 0] == 0
    assert isinstance(PrecomputedDepth(), DepthTeacher)


def test_disparity_is_taken_as_it_is(tmp_path):
    disparity = np.random.default_rng(0).uniform(0, 1, (3, 4, 5)).astype(np.float16)
    np.testing.assert_array_equal(read(tmp_path, disparity=disparity), disparity.astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"depth": np.ones((5, 4, 5))}, "depth for 5 frames, but clip.mp4 has 3 frames"),
        ({"depth": np.ones((3, 8, 5))}, "depth of 8x5 pixels, but clip.mp4 has 4x5"),
        ({"depth": np.zeros((3, 4, 5))}, "positive depth"),
        ({"depth": np.full((3, 4, 5), np.nan)}, "positive depth"),
        ({"disparity": np.full((3, 4, 5), np.inf)}, "finite disparity"),
        ({"depth": np.ones((3, 4))}, "frames, height, width"),
        ({"metres": np.ones((3, 4, 5))}, "neither `depth`"),
    ],
)
def test_bad_depth_is_refused(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, **arrays)


def test_missing_and_unreadable_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no depth file"):
        PrecomputedDepth()(FRAMES, 8.0, tmp_path / "clip.mp4")
    (tmp_path / "clip.depth.npz").write_bytes(b"?")
    with pytest.raises(UserError, match="cannot read"):
        PrecomputedDepth()(FRAMES, 8.0, tmp_path / "clip.mp4")


def test_depth_lies_beside_the_video(tmp_path):
    assert depth_path(tmp_path / "a.b.mp4") == tmp_path / "a.b.depth.npz"

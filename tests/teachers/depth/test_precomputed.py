import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.teachers.base import ClipBatch, DepthTeacher
from sr_jax.teachers.depth.features import DepthFeatures
from sr_jax.teachers.depth.files import depth_path
from sr_jax.teachers.depth.precomputed import PrecomputedDepth
from tests.preparation.fakes import MeanCodec

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
        ({"disparity": np.full((3, 4, 5), -2e30)}, r"frame 0 of .*clip\.depth\.npz must hold .* \(up to 1e30\)"),
        # Denormals, whose inverse no float32 can hold; and what becomes 0 in float32.
        ({"depth": np.full((3, 4, 5), 1e-42, np.float32)}, "of at least 1e-30"),
        ({"depth": np.full((3, 4, 5), 1e-60)}, "of at least 1e-30"),
        ({"depth": np.full((3, 4, 5), 1j)}, "frames, height, width"),
        ({"depth": np.full((3, 4, 5), "1")}, "frames, height, width"),
        ({"depth": np.zeros((3, 0, 5))}, "frames, height, width"),
        ({"depth": np.zeros((1, 1, 7680 * 4320 + 1), np.uint8)}, "no video is so large"),
        ({"depth": np.ones((3, 4, 5)), "disparity": np.ones((3, 4, 5))}, "has both `disparity` and `depth`: leave"),
        ({"depth": np.ones((3, 4))}, "frames, height, width"),
        ({"metres": np.ones((3, 4, 5))}, "neither `depth`"),
    ],
)
def test_bad_depth_is_refused(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, **arrays)


def test_one_bad_pixel_is_found_in_its_frame(tmp_path):
    depth = np.ones((3, 4, 5), np.float32)
    depth[1, 2, 3] = 1e-42
    with pytest.raises(UserError, match=r"frame 1 of .*clip\.depth\.npz must hold positive depth"):
        read(tmp_path, depth=depth)
    depth[1, 2, 3] = 1e-29
    assert read(tmp_path, depth=depth).max() == pytest.approx(1e29)


def test_a_depth_that_is_not_finite_is_told(tmp_path):
    class Broken(DepthTeacher):
        name, weight_hash = "broken", "none"

        def __call__(self, frames, fps, path):
            return np.full(frames.shape[:3], np.nan, np.float32)

    clips = ClipBatch(FRAMES[None], 8.0, [tmp_path / "clip.mp4"], ["somebody"], 1)
    with pytest.raises(UserError, match=r"the depth of .*clip\.mp4 by broken is not finite"):
        DepthFeatures(Broken())(clips, MeanCodec())


def test_missing_and_unreadable_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no depth file"):
        PrecomputedDepth()(FRAMES, 8.0, tmp_path / "clip.mp4")
    (tmp_path / "clip.depth.npz").write_bytes(b"?")
    with pytest.raises(UserError, match="cannot read"):
        PrecomputedDepth()(FRAMES, 8.0, tmp_path / "clip.mp4")


def test_depth_lies_beside_the_video(tmp_path):
    assert depth_path(tmp_path / "a.b.mp4") == tmp_path / "a.b.depth.npz"

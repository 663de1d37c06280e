import av
import cv2
import numpy as np
import OpenEXR
import pytest

from sr_jax.errors import UserError
from sr_jax.media import video
from sr_jax.media.decoding import scan_video
from sr_jax.teachers.beside import described_stem
from sr_jax.teachers.depth.files import depth_frames, find_depth
from sr_jax.teachers.depth.precomputed import PrecomputedDepth

_DEPTH = np.random.default_rng(0).uniform(1, 9, (3, 16, 24)).astype(np.float32)
_FRAMES = np.zeros((3, 16, 24, 3), np.uint8)


def _read(path, kind="disparity"):
    return PrecomputedDepth(kind)(_FRAMES, 8.0, path)


def _write_exr(path, **channels):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, channels).write(str(path))


@pytest.fixture
def clip(tmp_path):
    video.write_video(tmp_path / "a.mp4", _FRAMES, 8.0)
    return tmp_path / "a.mp4"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_are_read_frame_by_frame(clip, save, dtype):
    save(clip.with_suffix(".depth.npz"), depth=_DEPTH.astype(dtype))
    np.testing.assert_allclose(_read(clip), 1 / _DEPTH, rtol=1e-3)
    first = next(depth_frames(clip.with_suffix(".depth.npz")))
    np.testing.assert_allclose(first, 1 / _DEPTH[0], rtol=1e-3)


@pytest.mark.parametrize("dtype,scale", [(np.uint8, 20), (np.uint16, 5000)])
@pytest.mark.parametrize("kind", ["disparity", "depth"])
def test_pictures(clip, dtype, scale, kind):
    folder = clip.with_suffix(".depth")
    folder.mkdir()
    values = np.round(_DEPTH * scale).astype(dtype)
    values[0, 0, 0] = 0
    for number, picture in enumerate(values):
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture)
    with np.errstate(divide="ignore"):
        expected = values.astype(np.float32) if kind == "disparity" else 1 / values.astype(np.float32)
    expected[0, 0, 0] = 0
    np.testing.assert_allclose(_read(clip, kind), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "name,kind,is_depth", [("Z", "disparity", True), ("disparity", "depth", False), ("Y", "depth", True)]
)
def test_exr_channels_say_what_they_hold(clip, name, kind, is_depth):
    folder = clip.with_suffix(".depth")
    folder.mkdir()
    for number, picture in enumerate(_DEPTH):
        _write_exr(folder / f"{number}.exr", **{name: picture})
    np.testing.assert_allclose(_read(clip, kind), 1 / _DEPTH if is_depth else _DEPTH, rtol=1e-6)


def test_a_depth_video_keeps_its_16_bits(clip):
    values = np.round(_DEPTH * 7000).astype(np.uint16)
    with av.open(str(clip.with_suffix(".depth.mkv")), "w") as out:
        stream = out.add_stream("ffv1", rate=8)
        stream.height, stream.width, stream.pix_fmt = 16, 24, "gray16le"
        for picture in values:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray16le")))
        out.mux(stream.encode())
    np.testing.assert_allclose(_read(clip), values, atol=2)


def test_what_video_depth_anything_writes(clip):
    # Its program: `np.savez_compressed(..., depths=depths)`, and `frame_00000.exr` with the channel Z.
    array, folder = clip.with_name("a_depths.npz"), clip.with_name("a_depths_exr")
    np.savez_compressed(array, depths=_DEPTH.astype(np.float16))
    assert find_depth(clip) == array
    np.testing.assert_allclose(_read(clip, "disparity"), _DEPTH, rtol=1e-3)
    np.testing.assert_allclose(_read(clip, "depth"), 1 / _DEPTH, rtol=1e-3)
    with pytest.raises(UserError, match=r"a_depths\.npz may hold disparity or depth, .*: set depth\.kind to disparity"):
        _read(clip, "")
    array.rename(clip.with_suffix(".depth.npz"))
    np.testing.assert_allclose(_read(clip, "disparity"), _DEPTH, rtol=1e-3)
    clip.with_suffix(".depth.npz").unlink()
    folder.mkdir()
    for number, picture in enumerate(_DEPTH):
        _write_exr(folder / f"frame_{number:05d}.exr", Z=picture)
    np.testing.assert_allclose(_read(clip, "disparity"), _DEPTH, rtol=1e-6)
    np.testing.assert_allclose(_read(clip, "depth"), 1 / _DEPTH, rtol=1e-6)
    with pytest.raises(UserError, match="a_depths_exr may hold disparity or depth"):
        _read(clip, "")


def test_the_kind_of_pictures_and_videos_must_be_stated(clip):
    folder = clip.with_suffix(".depth")
    folder.mkdir()
    _write_exr(folder / "0.exr", Z=_DEPTH[0])
    np.testing.assert_allclose(next(depth_frames(folder)), 1 / _DEPTH[0], rtol=1e-6)
    for channel in ("exr", "png"):
        (folder / "0.exr").unlink(missing_ok=True)
        if channel == "exr":
            _write_exr(folder / "0.exr", Y=_DEPTH[0])
        else:
            cv2.imwrite(str(folder / "0.png"), _FRAMES[0, ..., 0])
        with pytest.raises(UserError, match="may hold disparity or depth, and does not say which"):
            next(depth_frames(folder))
    with pytest.raises(UserError, match="may hold disparity or depth, and does not say which"):
        next(depth_frames(clip))


def test_pictures_are_in_the_order_of_their_numbers(clip):
    folder = clip.with_suffix(".depth")
    folder.mkdir()
    for number in (1, 2, 10):
        cv2.imwrite(str(folder / f"frame_{number}.png"), np.full((16, 24), number, np.uint8))
    assert _read(clip)[:, 0, 0].tolist() == [1, 2, 10]


def test_length_and_size_are_checked_without_keeping_anything(clip):
    np.savez(clip.with_suffix(".depth.npz"), depth=_DEPTH[:2])
    info = scan_video(clip)
    with pytest.raises(UserError, match=r"a\.depth\.npz has depth for 2 frames, but a\.mp4 has 3 frames"):
        PrecomputedDepth().check(clip, info)
    np.savez(clip.with_suffix(".depth.npz"), depth=_DEPTH[:, :8])
    with pytest.raises(UserError, match=r"depth of 8x24 pixels, but a\.mp4 has 16x24"):
        PrecomputedDepth().check(clip, info)
    np.savez(clip.with_suffix(".depth.npz"), depth=_DEPTH)
    PrecomputedDepth().check(clip, info)


def test_bad_depth_is_named(clip):
    folder = clip.with_suffix(".depth")
    folder.mkdir()
    with pytest.raises(UserError, match=r"holds no \.png or \.exr files"):
        _read(clip)
    (folder / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"0\.png: it is no \.png picture"):
        _read(clip)
    cv2.imwrite(str(folder / "0.png"), _FRAMES[0])
    with pytest.raises(UserError, match="has colours"):
        _read(clip)
    cv2.imwrite(str(folder / "0.png"), _FRAMES[0, ..., 0])
    cv2.imwrite(str(folder / "1.png"), _FRAMES[0, 2:, :, 0])
    with pytest.raises(UserError, match=r"1\.png has another size than 0\.png"):
        _read(clip)
    (folder / "0.png").rename(folder / "0.exr")
    with pytest.raises(UserError, match="it is no OpenEXR picture"):
        _read(clip)
    _write_exr(folder / "0.exr", R=_DEPTH[0], G=_DEPTH[1], B=_DEPTH[2])
    with pytest.raises(UserError, match="name the one with depth Z"):
        _read(clip)
    np.savez(clip.with_suffix(".depth.npz"), depth=_DEPTH)
    with pytest.raises(UserError, match=r"has depth in both a\.depth and a\.depth\.npz"):
        _read(clip)
    with pytest.raises(UserError, match=r"depth\.kind is 'metres'"):
        PrecomputedDepth("metres")


def test_names(tmp_path):
    assert find_depth(tmp_path / "a.mp4") is None
    names = ("a.b.depth.npz", "a.depth.mkv", "a.depth", "depth.npz", "a.depth.txt", "a.b_depths.npz", "a_depths_exr")
    found = [described_stem(tmp_path / name, ["depth"]) for name in names]
    assert found == ["a.b", "a", "a", None, None, "a.b", "a"]
    assert described_stem(tmp_path / "a_depths.npz", ["heat"]) is None

"""Videos of every kind that the tests can write, against what is known of their pixels and times."""

from fractions import Fraction

import av
import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.media import decoding
from sr_jax.media.video import read_video


def _frames(count=6, height=32, width=48):
    """A smooth picture that gets brighter from frame to frame."""
    y, x = np.mgrid[:height, :width]
    return np.stack([np.stack([x * 2, y * 3, np.full_like(x, 20 + 30 * n)], -1) for n in range(count)]).astype(np.uint8)


def _write(path, frames, *, codec, pixel_format, container=None, times=None, last=0, fps=8, options=None, ratio=None):
    """Writes a video; `times`, and for how long the last frame is shown, are in 1/1000 s."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        if ratio:
            stream.codec_context.sample_aspect_ratio = ratio
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[-1] == 4 else "rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        packets = stream.encode()
        if last:
            packets[-1].duration = last
        out.mux(packets)


@pytest.mark.parametrize(
    "name,container,codec,pixel_format,error",
    [
        ("a.mkv", None, "ffv1", "yuv420p10le", 4),
        ("a.mkv", None, "libx264", "yuv422p10le", 6),
        ("a.webm", None, "libvpx-vp9", "yuv420p", 8),
        ("a.avi", None, "mpeg4", "yuv420p", 8),
        ("a.mov", None, "prores_ks", "yuv422p10le", 6),
        ("a.ts", None, "mpeg2video", "yuv420p", 8),
        ("a.unknown", "mp4", "libx265", "yuv420p", 10),
        ("a.flv", None, "flv1", "yuv420p", 10),
        ("a.gif", None, "gif", "rgb8", 40),
    ],
)
def test_containers_and_codecs(tmp_path, name, container, codec, pixel_format, error):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    written = _frames(height=64, width=96)  # libx265 writes over its memory with smaller pictures
    _write(
        tmp_path / name, written, codec=codec, pixel_format=pixel_format, container=container, fps=25, options=options
    )
    assert decoding.is_video(tmp_path / name)
    frames, fps = read_video(tmp_path / name)
    assert frames.shape == (6, 64, 96, 3)
    assert fps == pytest.approx(25, rel=0.01)
    assert np.abs(frames.astype(int) - written).mean() < error
    np.testing.assert_allclose(decoding.scan_video(tmp_path / name).times, np.arange(6) / 25, atol=2e-3)


def test_varying_frame_rate_keeps_its_times(tmp_path):
    times = [0, 40, 80, 500, 1000, 1040]
    _write(tmp_path / "a.mkv", _frames(), codec="ffv1", pixel_format="bgr0", times=times)
    np.testing.assert_allclose(decoding.scan_video(tmp_path / "a.mkv").times, np.array(times) / 1000, atol=1e-3)


def test_transparent_pixels_are_black(tmp_path):
    frames = np.concatenate([_frames(), np.full((6, 32, 48, 1), 255, np.uint8)], axis=-1)
    frames[:, :, :16, 3] = 0
    frames[:, :, 16:32, 3] = 128
    _write(tmp_path / "a.mkv", frames, codec="ffv1", pixel_format="bgra")
    read, _ = read_video(tmp_path / "a.mkv")
    expected = np.round(frames[..., :3] * (frames[..., 3:] / 255))
    np.testing.assert_array_equal(read, expected)


def test_pixels_that_are_not_square(tmp_path):
    _write(tmp_path / "a.mp4", _frames(), codec="libx264", pixel_format="yuv420p", ratio=Fraction(4, 3))
    info = decoding.scan_video(tmp_path / "a.mp4")
    assert (info.height, info.width) == (32, 64)
    assert read_video(tmp_path / "a.mp4")[0].shape == (6, 32, 64, 3)


@pytest.mark.parametrize("ratio", [Fraction(30), Fraction(9, 2), Fraction(1, 5)])
def test_pixels_that_cannot_be_so_wide(tmp_path, ratio):
    _write(tmp_path / "a.mp4", _frames(), codec="libx264", pixel_format="yuv420p", ratio=ratio)
    with pytest.raises(UserError, match=rf"a\.mp4 has pixels {float(ratio):g} times as wide as high"):
        decoding.scan_video(tmp_path / "a.mp4")


def test_small_pictures_are_averages_and_grey_ones_deep(tmp_path):
    _write(tmp_path / "a.mkv", _frames(), codec="ffv1", pixel_format="bgr0")
    with decoding.open_video(tmp_path / "a.mkv") as video:
        picture = next(video.pictures)
    assert picture.small(8).shape == (8, 12, 3)
    np.testing.assert_allclose(picture.small(8), _frames()[0].reshape(8, 4, 12, 4, 3).mean((1, 3)), atol=1.5)
    assert picture.small(100).shape == (32, 48, 3)
    deep = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48) * 40
    with av.open(str(tmp_path / "b.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "gray16le"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(deep, format="gray16le")))
        out.mux(stream.encode())
    with decoding.open_video(tmp_path / "b.mkv") as video:
        np.testing.assert_allclose(next(video.pictures).grey().astype(int), deep, atol=2)


def test_what_is_no_video(tmp_path):
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "empty.mp4").touch()
    picture = av.VideoFrame.from_ndarray(_frames()[0], format="rgb24")
    picture.to_image().save(tmp_path / "picture.mp4", format="PNG")
    for name in ("list.mp4", "empty.mp4", "picture.mp4"):
        assert not decoding.is_video(tmp_path / name)
        with pytest.raises(UserError, match=rf"{name}"):
            decoding.scan_video(tmp_path / name)


def test_cut_off_in_the_middle(tmp_path):
    # With its index at the beginning, a cut file still opens.
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3)).astype(np.uint8)
    options = {"movflags": "faststart"}
    with av.open(str(tmp_path / "a.mp4"), "w", options=options) as out:
        stream = out.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for pixels in noise:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    whole = (tmp_path / "a.mp4").read_bytes()
    assert decoding.scan_video(tmp_path / "a.mp4").num_frames == 40
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(UserError, match=r"cannot read the video .*a\.mp4"):
        decoding.scan_video(tmp_path / "a.mp4")


# At 8 frames a second; times that begin later; a last frame that is shown for long.
@pytest.mark.parametrize("first,last", [(0, 125), (7000, 125), (0, 2000)])
def test_shorter_than_the_container_says(tmp_path, first, last):
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3)).astype(np.uint8)
    times = [first + 125 * number for number in range(40)]
    _write(tmp_path / "a.mkv", noise, codec="libx264", pixel_format="yuv420p", times=times, last=last)
    whole = (tmp_path / "a.mkv").read_bytes()
    assert decoding.scan_video(tmp_path / "a.mkv").num_frames == 40
    # Cut at the end of a cluster or not, what is there decodes; a twentieth may be missing.
    (tmp_path / "a.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(UserError, match=rf"it ends after [23]\.\d of {(39 * 125 + last) / 1000:.1f} seconds"):
        decoding.scan_video(tmp_path / "a.mkv")


@pytest.mark.parametrize("name,codec,pixel_format", [("a.mp4", "libx264", "yuv420p"), ("a.mkv", "ffv1", "yuv420p10le")])
def test_damaged_bytes_never_get_past_the_error(tmp_path, name, codec, pixel_format):
    _write(tmp_path / name, _frames(), codec=codec, pixel_format=pixel_format)
    whole, rng, readable = (tmp_path / name).read_bytes(), np.random.default_rng(0), 0
    for _ in range(60):
        damaged = bytearray(whole)
        # Most of the damage in the header, where it changes what the file is.
        for place in rng.integers(0, 600, rng.integers(1, 15)):
            damaged[place % len(whole)] = rng.integers(0, 256)
        (tmp_path / name).write_bytes(damaged)
        try:
            info = decoding.scan_video(tmp_path / name, [decoding.Picture.pixels])
        except UserError:
            continue
        readable += 1
        assert np.isfinite(info.times).all() and (np.diff(info.times) >= 0).all()
    assert 0 < readable < 60


def test_a_codec_that_nobody_knows(tmp_path):
    _write(tmp_path / "a.mkv", _frames(), codec="ffv1", pixel_format="bgr0")
    whole = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(whole.replace(b"V_FFV1", b"V_FFVX"))
    with pytest.raises(UserError, match=r"cannot read the video .*a\.mkv: its codec is not known"):
        decoding.scan_video(tmp_path / "a.mkv")


def test_beyond_8k(tmp_path):
    _write(tmp_path / "a.mkv", np.zeros((1, 16, 48, 3), np.uint8), codec="ffv1", pixel_format="bgr0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_MOST_PIXELS", 16 * 48 - 1)
        with pytest.raises(UserError, match="48x16 pixels: scale it down"):
            decoding.scan_video(tmp_path / "a.mkv")
        # Small as it is stored, but not as it is shown.
        _write(tmp_path / "b.mp4", _frames(), codec="libx264", pixel_format="yuv420p", ratio=Fraction(3))
        patch.setattr(decoding, "_MOST_PIXELS", 32 * 144 - 1)
        with pytest.raises(UserError, match="144x32 pixels: scale it down"):
            decoding.scan_video(tmp_path / "b.mp4")
        patch.setattr(decoding, "_MOST_PIXELS", 32 * 144)
        assert decoding.scan_video(tmp_path / "b.mp4").width == 144


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(UserError, match=r"cannot open .*a\.mp4: Permission denied"):
        decoding.scan_video(tmp_path / "a.mp4")
    assert not decoding.is_video(tmp_path / "a.mp4")

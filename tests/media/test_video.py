import struct

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from sr_jax.errors import UserError
from sr_jax.media import decoding, video

_LAST = (0, 0, 0, 1 << 30)


def _frames(count=6, height=32, width=48):
    """A smooth picture that changes from frame to frame."""
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [np.stack([x * 5, y * 7, np.full_like(x, 20 + 30 * number)], axis=-1) for number in range(count)]
    ).astype(np.uint8)


@pytest.mark.parametrize("fps", [8.0, 30000 / 1001])
def test_lossless_round_trip(tmp_path, fps):
    frames = np.random.default_rng(0).integers(0, 256, (5, 17, 13, 3)).astype(np.uint8)
    video.write_video(tmp_path / "a.mp4", frames, fps, lossless=True)
    read, read_fps = video.read_video(tmp_path / "a.mp4")
    np.testing.assert_array_equal(read, frames)
    assert read_fps == pytest.approx(fps, rel=1e-6)
    info = decoding.scan_video(tmp_path / "a.mp4")
    assert (info.num_frames, info.fps, info.height, info.width) == (5, read_fps, 17, 13)
    np.testing.assert_allclose(info.times, np.arange(5) / fps, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_browser_video_is_close_and_yuv420p(tmp_path):
    video.write_video(tmp_path / "a.mp4", video.to_unit_range(_frames()), 8.0)
    read, _ = video.read_video(tmp_path / "a.mp4")
    assert np.abs(read.astype(int) - _frames()).mean() < 3
    colour = np.array([200, 30, 90], np.uint8)
    video.write_video(tmp_path / "b.mp4", np.tile(colour, (2, 32, 48, 1)), 8.0)
    with av.open(str(tmp_path / "b.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.pix_fmt, codec.colorspace, codec.color_range) == ("yuv420p", Colorspace.ITU601, ColorRange.MPEG)
        # Luma of BT.601 in the range 16 to 235, which the file says it has.
        luma = next(container.decode(video=0)).to_ndarray()[:32]
        np.testing.assert_allclose(luma, 16 + 219 / 255 * (colour @ [0.299, 0.587, 0.114]), atol=1.5)


def test_pixel_ranges():
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    unit = video.to_unit_range(every)
    assert (unit.min(), unit.max()) == (-1, 1)
    np.testing.assert_array_equal(video.to_uint8(unit), every)
    assert video.to_uint8(np.full((1, 1, 3), 1.7, np.float32)).max() == 255


def test_turned_video_is_read_upright(tmp_path):
    frames = _frames()
    video.write_video(tmp_path / "a.mp4", frames, 8.0, lossless=True)
    # The track header of an mp4 holds a 3x3 matrix: here a quarter turn clockwise takes the place of the identity.
    one = 1 << 16
    identity, turned = (
        struct.pack(">9i", *rows) for rows in [(one, 0, 0, 0, one, *_LAST), (0, one, 0, -one, 0, *_LAST)]
    )
    whole = (tmp_path / "a.mp4").read_bytes()
    place = whole.index(identity, whole.index(b"tkhd"))
    (tmp_path / "a.mp4").write_bytes(whole[:place] + turned + whole[place + len(turned) :])
    read, _ = video.read_video(tmp_path / "a.mp4")
    np.testing.assert_array_equal(read, np.rot90(frames, -1, axes=(1, 2)))
    info = decoding.scan_video(tmp_path / "a.mp4")
    assert (info.num_frames, info.fps, info.height, info.width) == (6, 8.0, 48, 32)


@pytest.mark.parametrize(
    "num_frames,source_fps,stride,expected",
    [
        (4, 8.0, 4, [[0, 1, 2, 3]]),
        (3, 8.0, 4, []),
        (10, 8.0, 4, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (10, 8.0, 2, [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]),
        (13, 32.0, 4, [[0, 4, 8, 12]]),
        (12, 32.0, 4, []),
        (11, 20.0, 4, [[0, 2, 5, 7]]),
        (3, 4.0, 4, [[0, 0, 1, 1]]),
        (121, 30000 / 1001, 16, [[0, 4, 7, 11], [60, 64, 67, 71]]),
    ],
)
def test_clips_of_a_video(num_frames, source_fps, stride, expected):
    clips = video.clip_indices(np.arange(num_frames) / source_fps, fps=8.0, clip_frames=4, stride=stride)
    assert [clip.tolist() for clip in clips] == expected


@pytest.mark.parametrize("source_fps,fps", [(30.0, 29.97), (30000 / 1001, 29.97), (23.976, 24.0), (24.0, 24.0)])
def test_rates_that_are_nearly_equal_lose_no_frame(source_fps, fps):
    (clip,) = video.clip_indices(np.arange(49) / source_fps, fps=fps, clip_frames=49, stride=49)
    assert clip.tolist() == list(range(49))


@pytest.mark.parametrize("size", [(32, 24), (16, 24), (64, 64), (12, 40)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_resize_keeps_the_aspect_and_the_centre(size, channels):
    # A linear ramp stays linear; its slope and its value in the middle say scale and crop.
    height, width = size
    y, x = np.mgrid[:32, :48].astype(np.float32) + 0.5
    ramp = np.broadcast_to((x * 2 + y).reshape(32, 48, *[1] * len(channels)), (32, 48, *channels))[None]
    result = video.resize_and_crop(np.ascontiguousarray(ramp), height, width)
    assert result.shape == (1, height, width, *channels)
    picture = result[0, ..., 0] if channels else result[0]
    scale = max(height / 32, width / 48)
    middle = picture[height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1]
    assert middle.mean() == pytest.approx(2 * 24 + 16, abs=1 / scale)
    inner = picture[2:-2, 2:-2]
    np.testing.assert_allclose(np.diff(inner, axis=1).mean(), 2 / scale, rtol=0.05)
    np.testing.assert_allclose(np.diff(inner, axis=0).mean(), 1 / scale, rtol=0.05)


def test_frames_of_the_right_size_are_untouched():
    frames = _frames()
    assert video.resize_and_crop(frames, 32, 48) is frames


def test_bad_files_have_clear_errors(tmp_path):
    with pytest.raises(UserError, match=r"no video file .*missing\.mp4"):
        decoding.scan_video(tmp_path / "missing.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(UserError, match=r"cannot read the video .*text\.mp4"):
        video.read_video(tmp_path / "text.mp4")
    video.write_video(tmp_path / "whole.mp4", _frames(), 8.0)
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot read the video .*cut\.mp4"):
        decoding.scan_video(tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux([*stream.encode(sound), *stream.encode()])
    with pytest.raises(UserError, match="holds no video stream"):
        decoding.scan_video(tmp_path / "sound.mp4")

"""Decoding a video file frame by frame: whatever container and codec FFmpeg reads, upright, opaque and of one size.

Frames come with the second at which they are shown, so that a video of varying frame rate can be resampled. At no time
is more than a few frames in memory.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, UInt8, UInt16

from sr_jax.errors import UserError

# A frame of more pixels than 8K has (7680 x 4320) is taken for a mistake: a decoder holds several of them.
_MOST_PIXELS = 7680 * 4320
# The sides of the pixels of real formats differ by a factor of about two at most; far beyond that the ratio is damaged.
_MOST_STRETCH = 4.0
# Larger frames than this are worth the decoder's threads.
_THREADED_PIXELS = 512 * 512
# FFmpeg opens single pictures and text as videos too, and playlists, which name other files.
_NO_VIDEOS = frozenset({"concat", "concatf", "dash", "hls", "image2", "lrc", "tty"})
# A video that ends earlier than its container says by more than this part of it, and by more than these seconds, was
# cut off.
_LOST_PART, _LOST_SECONDS = 0.05, 0.5


@dataclasses.dataclass(frozen=True)
class Picture:
    """One decoded frame.

    Attributes:
        seconds: When it is shown, since the first frame; never less than for the frame before.
        duration: For how many seconds it is shown, as far as the file says so; otherwise 0.
    """

    seconds: float
    duration: float
    _convert: Callable[[int | None, bool], np.ndarray]

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """RGB at the video's size."""
        return self._convert(None, False)

    def grey(self) -> UInt16[np.ndarray, "h w"]:
        """The green channel at the video's size, in 16 bits: the brightness of a video without colours."""
        return self._convert(None, True)[..., 1]

    def small(self, side: int) -> UInt8[np.ndarray, "h w 3"]:
        """RGB, averaged down so that the shorter side has at most this many pixels."""
        return self._convert(side, False)


@dataclasses.dataclass(frozen=True)
class OpenVideo:
    """A video that is being decoded.

    Attributes:
        fps: Frames a second as the container says, the average if they vary; 0 where it does not say.
        height: Pixels of an upright frame, with square pixels.
        width: Likewise.
        expected_seconds: How long it should be, as far as the container says so; otherwise None.
        pictures: The frames, at least one; can be gone through once.
    """

    fps: float
    height: int
    width: int
    expected_seconds: float | None
    pictures: Iterator[Picture]


@dataclasses.dataclass(frozen=True, eq=False)
class VideoInfo:
    """What a video file holds.

    Attributes:
        times: When each decoded frame is shown, in seconds since the first.
        fps: Frames a second, the average if they vary.
        height: Pixels of an upright frame.
        width: Likewise.
    """

    times: Float[np.ndarray, " f"]
    fps: float
    height: int
    width: int

    @property
    def num_frames(self) -> int:
        """How many frames could be decoded."""
        return len(self.times)


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[OpenVideo]:
    """Opens a video file and decodes its first frame.

    Raises:
        UserError: When the file is missing, is not a video, cannot be decoded (also later, while its pictures are gone
            through), has no frames, frames beyond 8K (counted in square pixels), or pixels whose sides differ by more
            than a factor of four.
    """
    if not path.is_file():
        raise UserError(f"no video file {path}")
    try:
        # With `file:`, no name is taken for an address.
        with av.open(f"file:{path.absolute()}", metadata_errors="replace") as container:
            yield _start(container, path)
    except av.error.FFmpegError as error:
        raise UserError(f"cannot read the video {path}: {error.strerror}") from error
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror}") from error


def scan_video(path: Path, looks: Iterable[Callable[[Picture], object]] = ()) -> VideoInfo:
    """Decodes a whole video without keeping it, and so proves that it can be read.

    Args:
        path: The file.
        looks: Called with every picture.

    Raises:
        UserError: As `open_video`, and when the video ends well before its container says.
    """
    looks = tuple(looks)
    with open_video(path) as video:
        times, last = [], 0.0
        for picture in video.pictures:
            times.append(picture.seconds)
            last = picture.duration
            for look in looks:
                look(picture)
        fps = video.fps or ((len(times) - 1) / times[-1] if times[-1] > 0 else 1.0)
        end, expected = times[-1] + max(last, 1 / fps), video.expected_seconds
        if expected is not None and expected - end > max(_LOST_SECONDS, _LOST_PART * expected):
            raise UserError(f"cannot read the video {path}: it ends after {end:.1f} of {expected:.1f} seconds")
        return VideoInfo(np.array(times, np.float64), fps, video.height, video.width)


def is_video(path: Path) -> bool:
    """Whether the content of a file is that of a video, whatever its name; nothing is decoded."""
    try:
        with av.open(f"file:{path.absolute()}", metadata_errors="replace") as container:
            return _video_stream(container) is not None
    except (av.error.FFmpegError, OSError):
        return False


def _video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first stream of moving pictures."""
    names = set(container.format.name.split(","))
    if names & _NO_VIDEOS or any(name.endswith("_pipe") for name in names):
        return None
    return next((item for item in container.streams.video if not item.disposition & Disposition.attached_pic), None)


def _start(container: av.container.InputContainer, path: Path) -> OpenVideo:
    stream = _video_stream(container)
    if stream is None:
        raise UserError(f"{path} holds no video stream")
    if stream.codec_context is None:
        raise UserError(f"cannot read the video {path}: its codec is not known")
    _check_size(stream.codec_context.width, stream.codec_context.height, path)
    if stream.codec_context.width * stream.codec_context.height > _THREADED_PIXELS:
        stream.thread_type = "AUTO"
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    frames = container.decode(stream)
    first = next(frames, None)
    if first is None:
        raise UserError(f"{path} holds no video frames")
    _check_size(first.width, first.height, path)
    # Old formats have pixels that are not square.
    stretch = float(stream.sample_aspect_ratio or 1)
    if not 1 / _MOST_STRETCH <= stretch <= _MOST_STRETCH:
        raise UserError(f"{path} has pixels {stretch:g} times as wide as high: its pixel aspect ratio is damaged")
    stored = (first.height, max(1, round(first.width * stretch)))
    _check_size(stored[1], stored[0], path)
    turned = first.rotation // 90 % 2
    # One converter for all frames: setting one up takes longer than converting a small frame.
    converter = _Converter(VideoReformatter(), stored)
    pictures = (
        Picture(seconds, _duration(frame), functools.partial(converter, frame))
        for frame, seconds in _timed(itertools.chain([first], frames), fps)
    )
    return OpenVideo(fps, stored[turned], stored[1 - turned], _expected_seconds(container, stream), pictures)


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > _MOST_PIXELS:
        raise UserError(f"{path} has frames of {width}x{height} pixels: scale it down to 8K or less")


def _expected_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # The container's own length is that of its longest stream, and may be the time of its end.
    if container.duration and len(container.streams) == 1:
        return (container.duration - max(0, container.start_time or 0)) / av.time_base
    return None


def _duration(frame: av.VideoFrame) -> float:
    return float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0


def _timed(frames: Iterable[av.VideoFrame], fps: float) -> Iterator[tuple[av.VideoFrame, float]]:
    """Frames with their seconds since the first; a frame without a time follows at the average rate."""
    start, seconds = None, 0.0
    for frame in frames:
        time = frame.time
        if start is None:
            start = 0.0 if time is None else time
        elif time is not None:
            seconds = max(seconds, time - start)
        else:
            seconds += 1 / fps if fps else 0.0
        yield frame, seconds


class _Converter:
    """Turns decoded frames into upright RGB without an alpha channel, all of the size of the first frame."""

    def __init__(self, reformatter: VideoReformatter, stored: tuple[int, int]):
        self._reformatter, self._stored = reformatter, stored

    def __call__(self, frame: av.VideoFrame, side: int | None, deep: bool) -> np.ndarray:
        scale = 1.0 if side is None else min(1.0, side / min(self._stored))
        height, width = (max(1, round(length * scale)) for length in self._stored)
        alpha = not deep and any(component.is_alpha for component in frame.format.components)
        pixels = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb48le" if deep else "rgba" if alpha else "rgb24",
            interpolation="AREA" if scale < 1 else None,
            threads=1,
        ).to_ndarray()
        if alpha:
            # Over black: what lies behind a transparent pixel is arbitrary.
            pixels = (pixels[..., :3] * (pixels[..., 3:] / np.float32(255)) + np.float32(0.5)).astype(np.uint8)
        # Phones store upright video as turned frames plus an angle.
        return np.rot90(pixels, frame.rotation // 90)

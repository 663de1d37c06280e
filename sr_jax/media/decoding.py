"""Decoding a video file frame by frame: whatever FFmpeg reads, upright, opaque and in the colours of a usual screen.

Frames come with the second at which they are shown, so that a video of varying frame rate can be resampled. At no time
is more than a few frames in memory. A video that is damaged, as far as FFmpeg can tell, or cut off is refused when its
last frame has been gone through.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16

from sr_jax.errors import UserError
from sr_jax.media.colours import Converter
from sr_jax.media.frame_folders import frames_of
from sr_jax.media.images import read_image
from sr_jax.media.interlacing import deinterlaced
from sr_jax.media.stream import DecodedFrame, DecodedStream, best_stream

# A frame of more pixels than 8K has (7680 x 4320) is taken for a mistake: a decoder holds several of them.
_MOST_PIXELS = 7680 * 4320
# The sides of the pixels of real formats differ by a factor of about two at most; far beyond that the ratio is damaged.
_MOST_STRETCH = 4.0
# Larger frames than this are worth the decoder's threads.
_THREADED_PIXELS = 512 * 512
# A video that ends earlier than its container says by more than this part of it, and by more than these seconds, was
# cut off.
_LOST_PART, _LOST_SECONDS = 0.05, 0.5
# Frames a second of a still image, which is alone in its video.
_ANY_RATE = 1.0


@dataclasses.dataclass(frozen=True)
class Picture:
    """One decoded frame.

    Attributes:
        seconds: When it is shown, since the first frame; never less than for the frame before.
        duration: For how many seconds it is shown, as far as the file says so; otherwise 0.
        height: Its pixels, upright and square.
        width: Likewise.
        follows: Whether it goes on where the frame before ended. The first frame of a video does not, nor does one of
            another size, nor one with which the clock of the file starts anew: recordings were joined there.
    """

    seconds: float
    duration: float
    height: int
    width: int
    follows: bool
    _convert: Callable[[float, bool], np.ndarray]

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """RGB at its size."""
        return self._convert(1.0, False)

    def grey(self) -> UInt16[np.ndarray, "h w"]:
        """The green channel at its size, in 16 bits: the brightness of a video without colours."""
        return self._convert(1.0, True)

    def small(self, side: int) -> UInt8[np.ndarray, "h w 3"]:
        """RGB, averaged down so that the shorter side has at most this many pixels."""
        return self._convert(min(1.0, side / min(self.height, self.width)), False)


@dataclasses.dataclass(frozen=True)
class OpenVideo:
    """A video that is being decoded.

    Attributes:
        fps: Frames a second as the container says, the average if they vary; 0 where it does not say.
        height: Pixels of the first frame.
        width: Likewise.
        pictures: The frames, at least one; can be gone through once.
    """

    fps: float
    height: int
    width: int
    pictures: Iterator[Picture]


@dataclasses.dataclass(frozen=True, eq=False)
class VideoInfo:
    """What a video file holds.

    Attributes:
        times: When each decoded frame is shown, in seconds since the first.
        fps: Frames a second, the average if they vary.
        sizes: Height and width of each frame, upright.
        follows: For each frame, whether it goes on where the one before ended; see `Picture`.
    """

    times: Float[np.ndarray, " f"]
    fps: float
    sizes: Int[np.ndarray, "f 2"]
    follows: Bool[np.ndarray, " f"]

    @property
    def num_frames(self) -> int:
        """How many frames could be decoded."""
        return len(self.times)

    @property
    def height(self) -> int:
        """Pixels of the first frame."""
        return int(self.sizes[0, 0])

    @property
    def width(self) -> int:
        """Pixels of the first frame."""
        return int(self.sizes[0, 1])


@contextlib.contextmanager
def open_video(path: Path, frames_fps: float = 0.0, *, still: bool = False) -> Iterator[OpenVideo]:
    """Opens a video file, a folder of frames or a still image, and decodes its first frame.

    Args:
        path: The file, or a folder of pictures (`frame_folders`).
        frames_fps: Frames a second of such a folder, which must be more than 0 for one.
        still: Whether it is an image (`images.read_image`): a video of one frame.

    Raises:
        UserError: When the file is missing, is not a video, cannot be decoded, has no frames, frames beyond 8K (counted
            in square pixels), pixels whose sides differ by more than a factor of four, or colours that cannot be
            converted. Also later, while its pictures are gone through; and at their end, when frames were damaged or
            the video ends well before its container says.
    """
    if still:
        yield _open_pictures(iter([read_image(path)]), _ANY_RATE)
        return
    if frames_fps and path.is_dir():
        yield _open_pictures(frames_of(path), frames_fps)
        return
    if not path.is_file():
        raise UserError(f"no video file {path}")
    try:
        # With `file:`, no name is taken for an address.
        with av.open(f"file:{path.absolute()}", metadata_errors="replace") as container:
            stream = _checked_stream(container, path)
            try:
                yield _start(container, stream, path)
            finally:
                # The decoder's threads must be at rest when it is closed: they wait for Python when they report an
                # error, and closing waits for them.
                stream.codec_context.flush_buffers()
    except av.error.FFmpegError as error:
        raise UserError(f"cannot read the video {path}: {error.strerror}") from error
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror}") from error


def scan_video(
    path: Path, looks: Iterable[Callable[[Picture], object]] = (), frames_fps: float = 0.0, *, still: bool = False
) -> VideoInfo:
    """Decodes a whole video without keeping it, and so proves that it can be read.

    Args:
        path: The file or folder.
        looks: Called with every picture.
        frames_fps: See `open_video`.
        still: Likewise.

    Raises:
        UserError: As `open_video`.
    """
    looks = tuple(looks)
    with open_video(path, frames_fps, still=still) as video:
        times, sizes, follows = [], [], []
        for picture in video.pictures:
            times.append(picture.seconds)
            sizes.append((picture.height, picture.width))
            follows.append(picture.follows)
            for look in looks:
                look(picture)
        fps = video.fps or ((len(times) - 1) / times[-1] if times[-1] > 0 else 1.0)
        return VideoInfo(np.array(times, np.float64), fps, np.array(sizes), np.array(follows))


def is_video(path: Path) -> bool:
    """Whether the content of a file is that of a video, whatever its name; nothing is decoded."""
    try:
        with av.open(f"file:{path.absolute()}", metadata_errors="replace") as container:
            return best_stream(container) is not None
    except (av.error.FFmpegError, OSError):
        return False


def _open_pictures(frames: Iterator[UInt8[np.ndarray, "h w 3"]], fps: float) -> OpenVideo:
    """Single pictures as a video; one is in memory when its turn has come."""

    def pictures() -> Iterator[Picture]:
        before = None
        for number, pixels in enumerate(frames):
            size = pixels.shape[:2]
            yield Picture(number / fps, 1 / fps, *size, size == before, functools.partial(_scaled, pixels))
            before = size

    rest = pictures()
    first = next(rest)
    return OpenVideo(fps, first.height, first.width, itertools.chain([first], rest))


def _scaled(
    pixels: UInt8[np.ndarray, "h w 3"], scale: float, grey: bool
) -> UInt8[np.ndarray, "y x 3"] | UInt16[np.ndarray, "y x"]:
    """A picture, scaled down; its green channel with 255 as 65535."""
    if scale < 1:
        size = tuple(max(1, round(length * scale)) for length in pixels.shape[1::-1])
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return pixels[..., 1] * np.uint16(257) if grey else pixels


def _checked_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The stream to decode."""
    stream = best_stream(container)
    if stream is None:
        raise UserError(f"{path} holds no video stream")
    if stream.codec_context is None:
        raise UserError(f"cannot read the video {path}: its codec is not known")
    _check_size(stream.codec_context.width, stream.codec_context.height, path)
    if stream.codec_context.width * stream.codec_context.height > _THREADED_PIXELS:
        stream.thread_type = "AUTO"
    return stream


def _start(container: av.container.InputContainer, stream: av.VideoStream, path: Path) -> OpenVideo:
    decoded = DecodedStream(container, stream)
    pictures = _pictures(decoded, float(stream.sample_aspect_ratio or 1), _expected_seconds(container, stream), path)
    first = next(pictures, None)
    if first is None:
        raise UserError(f"{path} holds no video frames")
    return OpenVideo(decoded.fps, first.height, first.width, itertools.chain([first], pictures))


def _pictures(stream: DecodedStream, stretch: float, expected_seconds: float | None, path: Path) -> Iterator[Picture]:
    """The frames of a stream as pictures.

    Args:
        stream: The stream.
        stretch: How much wider than high its pixels are.
        expected_seconds: How long it should be, if that is known.
        path: The file.
    """
    converter = Converter()
    frames = deinterlaced(stream)
    picture = None
    while (item := _saying(path, lambda: next(frames, None))) is not None:
        size = _upright_size(item, stretch, path)
        follows = picture is not None and size == (picture.height, picture.width) and not item.restarts
        convert = functools.partial(_convert, converter, item, *size)
        picture = Picture(item.seconds, item.duration, *size, follows, convert)
        yield picture
    if picture is None:
        return
    # A clock that starts anew makes the container's length meaningless.
    end = picture.seconds + max(picture.duration, 1 / stream.fps if stream.fps else 0.0)
    lost = 0.0 if expected_seconds is None or stream.restarted else expected_seconds - end
    if lost > max(_LOST_SECONDS, _LOST_PART * (expected_seconds or 0)):
        raise UserError(f"cannot read the video {path}: it ends after {end:.1f} of {expected_seconds:.1f} seconds")
    _saying(path, stream.check)


def _saying(path: Path, function: Callable[[], DecodedFrame | None]) -> DecodedFrame | None:
    """Calls a function whose errors do not say which file they are about."""
    try:
        return function()
    except UserError as error:
        raise UserError(f"cannot read the video {path}: {error}") from error


def _upright_size(item: DecodedFrame, stretch: float, path: Path) -> tuple[int, int]:
    """Height and width of a frame as it is shown, with square pixels."""
    _check_size(item.frame.width, item.frame.height, path)
    # Old formats have pixels that are not square.
    if not 1 / _MOST_STRETCH <= stretch <= _MOST_STRETCH:
        raise UserError(f"{path} has pixels {stretch:g} times as wide as high: its pixel aspect ratio is damaged")
    height, width = item.frame.height, max(1, round(item.frame.width * stretch))
    _check_size(width, height, path)
    return (width, height) if item.orientation.transposed else (height, width)


def _convert(
    converter: Converter, item: DecodedFrame, height: int, width: int, scale: float, grey: bool
) -> UInt8[np.ndarray, "y x 3"] | UInt16[np.ndarray, "y x"]:
    """The pixels of a frame that is shown at a size, scaled down."""
    height, width = (max(1, round(length * scale)) for length in (height, width))
    stored = (width, height) if item.orientation.transposed else (height, width)
    convert = converter.grey if grey else converter.rgb
    return item.orientation.upright(convert(item.frame, item.colours, *stored))


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > _MOST_PIXELS:
        raise UserError(f"{path} has frames of {width}x{height} pixels: scale it down to 8K or less")


def _expected_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """How long a video should be, as far as its container says so; otherwise None."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # The container's own length is that of its longest stream, and may be the time of its end.
    if container.duration and len(container.streams) == 1:
        return (container.duration - max(0, container.start_time or 0)) / av.time_base
    return None

"""Video files: reading, cutting into clips, resizing, writing."""

import itertools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from jaxtyping import Float, Int, Shaped, UInt8

from sr_jax.errors import UserError
from sr_jax.media.decoding import open_video
from sr_jax.outputs import replacing

# Two frames are equally near when they are so to this part of a second.
_TIE_SECONDS = 1e-6


class Video(NamedTuple):
    """The frames of a clip, and how many of them are a second."""

    frames: UInt8[np.ndarray, "f h w 3"]
    fps: float


def read_video(path: Path) -> tuple[UInt8[np.ndarray, "f h w 3"], float]:
    """All RGB frames of a video at their own size, and the frames a second (the average, if they vary).

    The whole video is held in memory: for short clips.

    Raises:
        UserError: As `decoding.open_video`, and for a video whose frames are not all of one size.
    """
    with open_video(path) as video:
        frames = []
        for picture in video.pictures:
            if (picture.height, picture.width) != (video.height, video.width):
                raise UserError(
                    f"{path} changes from {video.height}x{video.width} to {picture.height}x{picture.width} pixels at "
                    f"{picture.seconds:.1f} seconds: cut it there"
                )
            frames.append(picture.pixels())
        return np.stack(frames), video.fps


def clip_indices(
    times: Float[np.ndarray, " n"], *, fps: float, clip_frames: int, stride: int
) -> list[Int[np.ndarray, " f"]]:
    """Which source frames make up each clip of a video, or of one shot of it.

    The video is resampled to `fps` by taking the frame that is shown nearest in time (the earlier one of two), then cut
    every `stride` resampled frames. What is left over at the end is dropped. A source slower than `fps` repeats frames;
    clips that would begin with the same frame are one clip.

    Args:
        times: When each source frame is shown, in seconds, ascending.
        fps: Frames a second of the clips.
        clip_frames: Frames of a clip, F.
        stride: Resampled frames from one clip's start to the next one's.

    Returns:
        One index array `[F]` for each clip; none for a video shorter than a clip.
    """
    # A tenth of a frame may be missing at the end: 49 frames at 30 frames a second are a clip of 49 frames at 29.97.
    count = int((times[-1] - times[0]) * fps + 0.1) + 1
    wanted = times[0] + np.arange(count) / fps
    resampled = np.searchsorted((times[1:] + times[:-1]) / 2, wanted - _TIE_SECONDS)
    clips = [resampled[start : start + clip_frames] for start in range(0, count - clip_frames + 1, stride)]
    return [clip for clip, before in zip(clips, [None, *clips]) if before is None or clip[0] != before[0]]


def resize_and_crop(
    frames: Shaped[np.ndarray, "f h w *c"], height: int, width: int
) -> Shaped[np.ndarray, "f {height} {width} *c"]:
    """Scales frames (uint8 or float32, with or without channels) to cover `height` x `width` and crops the centre.

    The aspect ratio is kept. Pixels are averaged when frames shrink and interpolated bilinearly when they grow.
    """
    old_height, old_width = frames.shape[1:3]
    if (old_height, old_width) == (height, width):
        return frames
    scale = max(height / old_height, width / old_width)
    new_height, new_width = max(height, round(old_height * scale)), max(width, round(old_width * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    top, left = (new_height - height) // 2, (new_width - width) // 2
    return np.stack(
        [
            cv2.resize(frame, (new_width, new_height), interpolation=interpolation)[
                top : top + height, left : left + width
            ]
            for frame in frames
        ]
    )


def crop_grid(
    grid: Shaped[np.ndarray, "y x *c"], size: tuple[int, int], window: tuple[int, int, int, int]
) -> Shaped[np.ndarray, "y x *c"]:
    """The part of a coarse grid over a whole frame that lies in a window, on a grid of as many cells over the window.

    Args:
        grid: Values in the middles of equal cells; nothing of them changes where the window is the whole frame.
        size: Height and width of the frame, in pixels.
        window: Top, left, height and width of the window in the frame, in pixels.

    Returns:
        Values interpolated bilinearly between the middles, and those of the border beyond them.
    """
    if window == (0, 0, *size):
        return grid
    (top, left, height, width), values = window, grid.astype(np.float32)
    for axis, (start, length) in enumerate(((top, height), (left, width))):
        values = np.moveaxis(values, axis, 0)
        cells = len(values)
        places = (start + (np.arange(cells) + 0.5) * length / cells) * cells / size[axis] - 0.5
        places = np.clip(places, 0, cells - 1)
        below = np.minimum(places.astype(int), max(cells - 2, 0))
        share = (places - below).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
        values = values[below] * (1 - share) + values[np.minimum(below + 1, cells - 1)] * share
        values = np.moveaxis(values, 0, axis)
    return values.astype(grid.dtype)


def write_video(
    path: Path,
    frames: UInt8[np.ndarray, "f h w 3"] | Float[np.ndarray, "f h w 3"],
    fps: float,
    *,
    lossless: bool = False,
) -> None:
    """Writes an H.264 mp4; the file appears complete or not at all.

    Args:
        path: Where to write; its folder must exist.
        frames: RGB, uint8 or float in [-1, 1] as a codec decodes it.
        fps: Frames a second.
        lossless: Keep every pixel exactly (RGB H.264, which few browsers play). Otherwise high quality yuv420p, which
            everything plays; height and width must then be even.
    """
    write_pieces(path, [frames], fps, lossless=lossless)


def write_pieces(
    path: Path,
    pieces: Iterable[UInt8[np.ndarray, "_ h w 3"] | Float[np.ndarray, "_ h w 3"]],
    fps: float,
    *,
    lossless: bool = False,
) -> None:
    """As `write_video`, of frames that come some after the other; of them at least one."""
    pieces = iter(pieces)
    first = next(pieces)
    codec, pixel_format, options = (
        # Without loss, a faster encoder only makes larger files: a fifth larger, ten times as fast.
        ("libx264rgb", "rgb24", {"qp": "0", "preset": "ultrafast"})
        if lossless
        else ("libx264", "yuv420p", {"crf": "10"})
    )
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width = first.shape[1:3]
        stream.pix_fmt = pixel_format
        if not lossless:
            # As RGB is converted; where a file does not say so, players guess by the size of the picture.
            stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU601, ColorRange.MPEG
        for piece in itertools.chain([first], pieces):
            for frame in piece if piece.dtype == np.uint8 else to_uint8(piece):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def to_unit_range(frames: UInt8[np.ndarray, "*b h w 3"]) -> Float[np.ndarray, "*b h w 3"]:
    """uint8 pixels as float32 in [-1, 1], what codecs read."""
    return frames.astype(np.float32) / 127.5 - 1


def to_uint8(frames: Float[np.ndarray, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Float pixels in [-1, 1] (values outside are clipped) as uint8."""
    return np.round((np.clip(frames.astype(np.float32), -1, 1) + 1) * 127.5).astype(np.uint8)

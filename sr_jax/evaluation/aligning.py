"""Which frames of two clips are compared, at which size: one rule for other lengths, rates and sizes, in words too.

In time, the generated clip is what it is: each of its frames is compared with the frame of the real clip that is shown
nearest in time (the earlier one of two), and frames that are shown after the real clip's end are left out. Where files
do not tell the truth about their rate, frame can be compared with frame by their numbers instead. In space, the real
clip is scaled to cover the generated one's size and cropped at the centre.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from sr_jax.errors import UserError
from sr_jax.media.decoding import VideoInfo, open_video, scan_video
from sr_jax.media.video import resize_and_crop

RULES = {
    "time": "each generated frame beside the real frame that is shown nearest in time",
    "frames": "frame beside frame by their numbers, whatever their rates",
}
"""How clips may be aligned in time, by the words of the config."""
SIZE_RULE = "real frames scaled to cover the generated size and cropped at the centre"

# The least frames that have motion between them.
_LEAST_FRAMES = 2
# Times of two files are equal when they are so to this part of a second.
_TIE_SECONDS = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """The frames of two clips that are compared.

    Attributes:
        generated: Numbers of the frames of the generated clip, ascending.
        reference: The number of the real frame beside each of them.
        size: Height and width at which they are compared.
        fps: Frames a second of the generated clip.
        notes: What was done that two alike clips would not have needed, in words; empty when nothing was.
    """

    generated: Int[np.ndarray, " f"]
    reference: Int[np.ndarray, " f"]
    size: tuple[int, int]
    fps: float
    notes: str


def scan_clip(path: Path, frames_fps: float) -> VideoInfo:
    """Decodes a clip without keeping it.

    Args:
        path: A video file or a folder of frames.
        frames_fps: Frames a second of folders of frames.

    Raises:
        UserError: When it cannot be read, is damaged, or its frames are not all of one size.
    """
    info = scan_video(path, frames_fps=frames_fps if path.is_dir() else 0.0)
    if (info.sizes != info.sizes[0]).any():
        raise UserError(f"{path} has frames of several sizes: cut it where they change")
    return info


def align(generated: VideoInfo, reference: VideoInfo, *, by: str) -> Alignment:
    """Says which frames of two clips are compared.

    Args:
        generated: What the generated clip holds.
        reference: What the real one holds.
        by: "time" or "frames", see `RULES`.

    Raises:
        UserError: When fewer than two frames can be compared.
    """
    ours, theirs = _nearest(generated, reference) if by == "time" else _numbered(generated, reference)
    if len(ours) < _LEAST_FRAMES:
        raise UserError(
            f"it has {_frames(generated)}, the real clip {_frames(reference)}: at least {_LEAST_FRAMES} must have "
            f"{'their time' if by == 'time' else 'their number'} in common"
        )
    notes = [
        note for note in (_time_note(generated, reference, len(ours), by), _size_note(generated, reference)) if note
    ]
    size = (generated.height, generated.width)
    return Alignment(ours, theirs, size, generated.fps, "; ".join(notes))


def read_pair(
    generated: Path, reference: Path, alignment: Alignment
) -> tuple[UInt8[np.ndarray, "f h w 3"], UInt8[np.ndarray, "f h w 3"]]:
    """The frames of a generated clip and of the real one that are compared, at one size.

    Raises:
        UserError: When a file cannot be read.
    """
    real = read_frames(reference, alignment.reference)
    return read_frames(generated, alignment.generated), resize_and_crop(real, *alignment.size)


def read_frames(path: Path, numbers: Int[np.ndarray, " f"]) -> UInt8[np.ndarray, "f h w 3"]:
    """Some frames of a video file or a folder of frames, in RGB; no others are kept.

    Args:
        path: The clip.
        numbers: Which frames, ascending; one may come several times.

    Raises:
        UserError: When the clip cannot be read.
    """
    wanted = set(numbers.tolist())
    # A folder's frames have no times of their own here: any rate gives the same frames.
    with open_video(path, 1.0 if path.is_dir() else 0.0) as video:
        kept = {number: picture.pixels() for number, picture in enumerate(video.pictures) if number in wanted}
    if missing := sorted(wanted - kept.keys()):
        raise UserError(f"{path} has no frame {missing[0]} any more: it has changed since it was scanned")
    return np.stack([kept[number] for number in numbers.tolist()])


def _nearest(generated: VideoInfo, reference: VideoInfo) -> tuple[Int[np.ndarray, " f"], Int[np.ndarray, " f"]]:
    # The last real frame is shown for as long as the others.
    end = reference.times[-1] + 1 / reference.fps
    shown = np.flatnonzero(generated.times < end - _TIE_SECONDS)
    middles = (reference.times[1:] + reference.times[:-1]) / 2
    return shown, np.searchsorted(middles, generated.times[shown] - _TIE_SECONDS)


def _numbered(generated: VideoInfo, reference: VideoInfo) -> tuple[Int[np.ndarray, " f"], Int[np.ndarray, " f"]]:
    numbers = np.arange(min(generated.num_frames, reference.num_frames))
    return numbers, numbers


def _time_note(generated: VideoInfo, reference: VideoInfo, compared: int, by: str) -> str:
    same_rate = by == "frames" or abs(generated.fps - reference.fps) < 1e-3 * reference.fps
    if same_rate and generated.num_frames == reference.num_frames == compared:
        return ""
    return f"{_frames(generated)} beside {_frames(reference)}, aligned by {by}: {compared} compared"


def _size_note(generated: VideoInfo, reference: VideoInfo) -> str:
    ours, theirs = ((info.height, info.width) for info in (generated, reference))
    return "" if ours == theirs else f"real frames of {_size(theirs)} scaled and cropped to {_size(ours)}"


def _frames(info: VideoInfo) -> str:
    return f"{info.num_frames} frames at {info.fps:.4g} a second"


def _size(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"

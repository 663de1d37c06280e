"""Which of a video's frames a clip shows, which part of them, at which size, and whether the clip is wanted."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sr_jax.errors import UserError
from sr_jax.media.video import clip_indices
from sr_jax.preparation.people import Look, PersonOptions, motion_between

# The part of the looks in which a person, or more than one, must be seen to count for a clip.
_MOST_LOOKS = 0.5
# Rates are rounded: 29.97 frames a second are 30.
_RATE_TOLERANCE = 0.01
# Places of a person that are more extreme than these percentiles over a clip may be cut off.
_USUAL = (10, 90)


class Size(NamedTuple):
    """Pixels of a clip."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


class Kind(NamedTuple):
    """What tells the clips of one dataset from those of another: clips of one kind have records of one shape.

    Attributes:
        size: Their pixels.
        num_frames: Their frames, where these are not `ClipOptions.num_frames`; 1 of still images.
    """

    size: Size
    num_frames: int | None = None

    def __str__(self) -> str:
        return f"{self.num_frames}x{self.size}" if self.num_frames else str(self.size)


class Window(NamedTuple):
    """A part of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class ClipOptions:
    """What clips look like.

    Attributes:
        num_frames: Frames of a clip, F.
        fps: Frames a second of a clip.
        stride: Frames from one clip's start to the next one's; less than `num_frames` for clips that overlap.
        sizes: Pixels; a clip gets the size whose aspect ratio is nearest to its video's.
        frames_fps: Frames a second of folders of frames; 0 where there are none.
        still_images: Whether still images are taken: each is a clip of one frame.
        more_frames: Further numbers of frames, less than `num_frames`: a shot that is too short for `num_frames` gives
            clips of the greatest of these that it holds.
    """

    num_frames: int
    fps: float
    stride: int
    sizes: tuple[Size, ...]
    frames_fps: float = 0.0
    still_images: bool = False
    more_frames: tuple[int, ...] = ()

    def __post_init__(self):
        if not self.frames_fps >= 0:
            raise UserError(
                f"clip.frames_fps is {self.frames_fps:g}: it must be positive, or 0 for no folders of frames"
            )
        if self.stride < 1:
            raise UserError(f"clip.stride is {self.stride}: it must be at least 1")
        for count in self.more_frames:
            # A clip of one frame is a still image.
            if not 1 < count < self.num_frames:
                raise UserError(
                    f"clip.more_frames has {count}: further clips have at least 2 frames, and fewer than "
                    f"clip.num_frames={self.num_frames}"
                )

    @property
    def frame_counts(self) -> list[int]:
        """How many frames a clip of a video can have, from the most to the fewest."""
        return [self.num_frames, *sorted(set(self.more_frames), reverse=True)]

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of clips that there can be."""
        other_counts = self.frame_counts[1:] + [1] * self.still_images
        return [*map(Kind, self.sizes), *(Kind(size, count) for count in other_counts for size in self.sizes)]


@dataclasses.dataclass(frozen=True)
class DropOptions:
    """Which clips are not wanted.

    Attributes:
        no_person: Drop clips in most of which no person is found.
        several_people: Drop clips in most of which more than one person is found.
        least_motion: Drop clips in which less moves, in picture heights a second; 0 keeps all.
        least_side: Drop clips of videos whose shorter side has fewer pixels; 0 keeps all.
        least_fps: Drop clips of which their video shows fewer frames a second, to a hundredth; 0 keeps all.
    """

    no_person: bool = False
    several_people: bool = False
    least_motion: float = 0.0
    least_side: int = 0
    least_fps: float = 0.0

    def __post_init__(self):
        for name in ("least_motion", "least_side", "least_fps"):
            if not getattr(self, name) >= 0:
                raise UserError(f"drop.{name} is {getattr(self, name):g}: it must be positive, or 0 to keep all clips")


def poor_source(height: int, width: int, times: Float[np.ndarray, " n"], options: DropOptions) -> str | None:
    """Why the part of a video that a clip is cut from is too poor, or None.

    Args:
        height: Pixels of the video's frames.
        width: Likewise.
        times: When the frames of the video that the clip is made of are shown, in seconds, each once.
        options: What is not wanted.
    """
    if min(height, width) < options.least_side:
        return "too few pixels"
    # Of one frame no rate is known.
    if len(times) > 1 and (len(times) - 1) / (times[-1] - times[0]) < options.least_fps * (1 - _RATE_TOLERANCE):
        return "too few frames a second"
    return None


def drop_reason(looks: Sequence[Look], options: DropOptions) -> str | None:
    """Why what a clip shows is not wanted, or None.

    Args:
        looks: Those inside the clip, in order.
        options: What is not wanted.
    """
    counts = Counter(min(len(look.people), 2) for look in looks)
    if options.no_person and counts[0] >= _MOST_LOOKS * len(looks):
        return "no person"
    if options.several_people and counts[2] > _MOST_LOOKS * len(looks):
        return "several people"
    # Written so that a clip of one look, whose motion is not known, is kept.
    if options.least_motion and motion_between(looks) < options.least_motion:
        return "too little motion"
    return None


def cut_shot(
    times: Float[np.ndarray, " n"], options: ClipOptions, *, still: bool = False
) -> list[Int[np.ndarray, " f"]]:
    """Which frames of a shot make up each of its clips, all of one length: the greatest that the shot holds.

    Shorter clips begin in shorter steps: those of half the frames after half of `stride`.

    Args:
        times: When each frame is shown, in seconds, ascending.
        options: What clips look like.
        still: Whether it is a still image.

    Returns:
        As `media.video.clip_indices`; none for a shot that is shorter than every clip.
    """
    for count in [1] if still else options.frame_counts:
        stride = max(1, options.stride * count // options.num_frames)
        if clips := clip_indices(times, fps=options.fps, clip_frames=count, stride=stride):
            return clips
    return []


def nearest_size(height: int, width: int, sizes: Sequence[Size]) -> Size:
    """The size whose aspect ratio is nearest to that of a frame; the first one of equals."""
    return min(sizes, key=lambda size: abs(math.log(size.width / size.height * height / width)))


def frame_person(looks: Sequence[Look], height: int, width: int, size: Size, options: PersonOptions) -> Window:
    """The window of a clip: it stands still while the person moves in it, and has the clip's aspect ratio.

    Args:
        looks: Those inside the clip.
        height: Pixels of the video's frames.
        width: Likewise.
        size: Pixels of the clip.
        options: How a person is framed.

    Returns:
        The window around the place of the main person, as far as the frame allows; in the middle where there is none.
    """
    aspect = size.width / size.height
    largest = min(float(height), width / aspect)
    boxes = np.array([look.people[0] for look in looks if len(look.people)])
    if not len(boxes):
        return _placed(width / 2, height / 2, largest, aspect, height, width)
    low, high = (np.percentile(boxes, percentile, axis=0) for percentile in _USUAL)
    left, top, right, bottom = *low[:2], *high[2:]
    tall = largest
    if options.zoom:
        wanted = options.zoom * float(np.median(boxes[:, 3] - boxes[:, 1]))
        # The whole way of the person is inside, and nothing is enlarged.
        tall = float(min(largest, max(wanted, bottom - top, (right - left) / aspect, size.height)))
    middle = (top + bottom) / 2 + (0.5 - options.anchor) * tall
    return _placed(float(left + right) / 2, float(middle), tall, aspect, height, width)


def _placed(x: float, y: float, tall: float, aspect: float, height: int, width: int) -> Window:
    """A window of a height around a middle, moved into the frame."""
    rows, columns = min(height, max(1, round(tall))), min(width, max(1, round(tall * aspect)))
    top, left = (
        min(max(0, round(middle - side / 2)), room - side)
        for middle, side, room in ((y, rows, height), (x, columns, width))
    )
    return Window(top, left, rows, columns)

"""Reading planned clips: one pass over each video, and never more of it in memory than the clips that are open."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Shaped, UInt8

from sr_jax.errors import UserError
from sr_jax.media.decoding import open_video
from sr_jax.media.video import crop_grid, resize_and_crop
from sr_jax.preparation.planning import ClipPlan
from sr_jax.teachers.base import FeatureTeacher

_ANY_RATE = 1.0


@dataclasses.dataclass(frozen=True)
class CutClip:
    """A clip that was cut out of its video.

    Attributes:
        plan: Its plan.
        frames: RGB.
        beside: By the slot of a teacher that reads something beside videos, what that is for each frame, of the frames'
            size or on a grid of its own.
    """

    plan: ClipPlan
    frames: UInt8[np.ndarray, "f h w 3"]
    beside: Mapping[str, Shaped[np.ndarray, "f y x *c"]] = dataclasses.field(default_factory=dict)


class ClipReader:
    """Cuts planned clips out of their videos."""

    def __init__(self, teachers: Mapping[str, FeatureTeacher]):
        """Reads nothing yet.

        Args:
            teachers: Those that may read something beside videos, by their slots.
        """
        self._teachers = teachers

    def clips(self, plans: Sequence[ClipPlan]) -> Iterator[CutClip]:
        """The clips of one video, in order of their last frames.

        Args:
            plans: Clips of one video by their first frame.

        Raises:
            UserError: When the video, or what lies beside it, cannot be read.
        """
        if not plans:
            return
        path = plans[0].source.path
        # Only the order of the frames counts here, so any rate will do.
        with open_video(path, frames_fps=_ANY_RATE, still=plans[0].source.still) as video:
            found = {slot: teacher.beside(path) for slot, teacher in self._teachers.items()}
            beside = {slot: entries for slot, entries in found.items() if entries is not None}
            wanted = list(plans)
            begun: list[_Cut] = []
            for index, (picture, *entries) in enumerate(zip(video.pictures, *beside.values())):
                while wanted and wanted[0].indices[0] == index:
                    begun.append(_Cut(wanted.pop(0)))
                if any(index in cut.places for cut in begun):
                    pixels = picture.pixels()
                    for cut in begun:
                        cut.add(index, pixels, dict(zip(beside, entries)))
                while begun and begun[0].plan.indices[-1] == index:
                    yield begun.pop(0).finished()
                if not (begun or wanted):
                    return
            raise UserError(f"{path} has become shorter since it was checked")


class _Cut:
    """A clip that is being read."""

    def __init__(self, plan: ClipPlan):
        self.plan = plan
        # A frame is repeated where the video is slower than the clip.
        self.places: dict[int, list[int]] = {}
        for place, index in enumerate(plan.indices.tolist()):
            self.places.setdefault(index, []).append(place)
        self._frames: np.ndarray | None = None
        self._beside: dict[str, np.ndarray] = {}

    def add(self, index: int, pixels: np.ndarray, beside: Mapping[str, np.ndarray]) -> None:
        if index not in self.places:
            return
        self._frames = self._with(self._frames, index, self._cropped(pixels))
        for slot, entry in beside.items():
            size = pixels.shape[:2]
            of_pixels = entry.shape[:2] == size
            cropped = self._cropped(entry) if of_pixels else crop_grid(entry, size, self.plan.window)
            self._beside[slot] = self._with(self._beside.get(slot), index, cropped)

    def finished(self) -> CutClip:
        return CutClip(self.plan, self._frames, self._beside)

    def _with(self, frames: np.ndarray | None, index: int, cropped: np.ndarray) -> np.ndarray:
        """The frames of the clip, made when the first one comes, with one more."""
        if frames is None:
            frames = np.empty((len(self.plan.indices), *cropped.shape), cropped.dtype)
        frames[self.places[index]] = cropped
        return frames

    def _cropped(self, picture: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "y x *c"]:
        top, left, height, width = self.plan.window
        part = np.ascontiguousarray(picture[top : top + height, left : left + width])
        return resize_and_crop(part[None], *self.plan.size)[0]

"""Reading planned clips: one pass over each video, and never more of it in memory than the clips that are open."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from sr_jax.errors import UserError
from sr_jax.media.decoding import open_video
from sr_jax.media.video import resize_and_crop
from sr_jax.preparation.planning import ClipPlan
from sr_jax.teachers.base import DepthTeacher
from sr_jax.teachers.depth.colours import PUBLISHED_COLOURS, DepthColours
from sr_jax.teachers.depth.precomputed import PrecomputedDepth


@dataclasses.dataclass(frozen=True)
class ClipPixels:
    """The pixels of one clip: RGB `frames` `[F, H, W, 3]` and `disparity` `[F, H, W]` in [0, 1], near is large."""

    frames: UInt8[np.ndarray, "f h w 3"]
    disparity: Float[np.ndarray, "f h w"]


class ClipReader:
    """Cuts planned clips out of their videos."""

    def __init__(self, depth: DepthTeacher, colours: DepthColours = PUBLISHED_COLOURS):
        self._depth, self._colours = depth, colours

    def frames(self, plans: Sequence[ClipPlan]) -> Iterator[tuple[ClipPlan, np.ndarray, np.ndarray | None]]:
        """The clips of one video with their frames and, where it lies beside the video, their disparity.

        Args:
            plans: Clips of one video by their first frame.

        Yields:
            Plan, RGB frames `[F, H, W, 3]`, and disparity `[F, H, W]` of any scale or None.

        Raises:
            UserError: When the video or its depth cannot be read.
        """
        if not plans:
            return
        path = plans[0].source.path
        with open_video(path) as video:
            precomputed = isinstance(self._depth, PrecomputedDepth)
            disparity = self._depth.frames(path) if precomputed else itertools.repeat(None)
            wanted = list(plans)
            begun: list[_Cut] = []
            for index, (picture, values) in enumerate(zip(video.pictures, disparity)):
                while wanted and wanted[0].indices[0] == index:
                    begun.append(_Cut(wanted.pop(0)))
                if any(index in cut.places for cut in begun):
                    pixels = picture.pixels()
                    for cut in begun:
                        cut.add(index, pixels, values)
                while begun and begun[0].plan.indices[-1] == index:
                    yield begun.pop(0).finished()
                if not (begun or wanted):
                    return
            raise UserError(f"{path} has become shorter since it was checked")

    def finish(self, plan: ClipPlan, frames: np.ndarray, disparity: np.ndarray | None, fps: float) -> ClipPixels:
        """A clip with its disparity normalised over the clip; runs the depth teacher where that is a network."""
        if disparity is None:
            disparity = self._depth(frames, fps, plan.source.path)
        return ClipPixels(frames, self._colours.normalise(disparity))


class _Cut:
    """A clip that is being read."""

    def __init__(self, plan: ClipPlan):
        self.plan = plan
        # A frame is repeated where the video is slower than the clip.
        self.places: dict[int, list[int]] = {}
        for place, index in enumerate(plan.indices.tolist()):
            self.places.setdefault(index, []).append(place)
        shape = (len(plan.indices), *plan.size)
        self._frames = np.empty((*shape, 3), np.uint8)
        self._disparity: np.ndarray | None = None

    def add(self, index: int, pixels: np.ndarray, values: np.ndarray | None) -> None:
        if index not in self.places:
            return
        self._frames[self.places[index]] = self._cropped(pixels)
        if values is not None:
            if self._disparity is None:
                self._disparity = np.empty(self._frames.shape[:3], np.float32)
            self._disparity[self.places[index]] = self._cropped(values)

    def finished(self) -> tuple[ClipPlan, np.ndarray, np.ndarray | None]:
        return self.plan, self._frames, self._disparity

    def _cropped(self, picture: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "y x *c"]:
        top, left, height, width = self.plan.window
        part = np.ascontiguousarray(picture[top : top + height, left : left + width])
        return resize_and_crop(part[None], *self.plan.size)[0]

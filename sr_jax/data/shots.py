"""Where the shots of a video begin, by PySceneDetect."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from sr_jax.data.decoding import Picture
from sr_jax.errors import UserError

# Shorter side of the frames that are compared: a cut changes the whole picture.
_SIDE = 90
# The detectors are asked about the order of frames only, so any rate will do.
_ANY_RATE = 25.0


@dataclasses.dataclass(frozen=True)
class ShotOptions:
    """How cuts are found.

    Attributes:
        name: "adaptive" compares a change with the changes around it and so stands fast camera movement; "content" is a
            fixed threshold; "none" takes every video for one shot. Neither finds slow dissolves.
        threshold: PySceneDetect's default is 3 for "adaptive" and 27 for "content".
        least_seconds: Two cuts are at least so far apart: a flash is no shot.
    """

    name: str = "none"
    threshold: float = 3.0
    least_seconds: float = 0.5

    def __post_init__(self):
        if self.name not in ("none", "adaptive", "content"):
            raise UserError(f"shots.name is {self.name!r}: it must be none, adaptive or content")


class ShotFinder:
    """Looks at the pictures of one video in order; see `decoding.scan_video`."""

    def __init__(self, options: ShotOptions):
        self._least_seconds = options.least_seconds
        self._detector = {
            "none": lambda: None,
            "adaptive": lambda: AdaptiveDetector(options.threshold, min_scene_len=0),
            "content": lambda: ContentDetector(options.threshold, min_scene_len=0),
        }[options.name]()
        self._count = 0
        self._cuts: list[int] = []

    def __call__(self, picture: Picture) -> None:
        """Looks at the next picture."""
        if self._detector is not None:
            place = FrameTimecode(self._count, fps=_ANY_RATE)
            pixels = cv2.cvtColor(picture.small(_SIDE), cv2.COLOR_RGB2BGR)
            self._cuts += [cut.frame_num for cut in self._detector.process_frame(place, pixels)]
            self._count += 1

    def shots(self, times: Float[np.ndarray, " f"]) -> list[tuple[int, int]]:
        """First frame and the frame after the last one of each shot, once all pictures have been looked at.

        Args:
            times: When each frame of the video is shown, in seconds.
        """
        starts = [0]
        for cut in self._cuts:
            if times[cut] - times[starts[-1]] >= self._least_seconds:
                starts.append(cut)
        return list(zip(starts, [*starts[1:], len(times)]))

"""The shots of a video: between its cuts (PySceneDetect), gaps in its times and seams where recordings are joined."""

import dataclasses
import itertools

import cv2
import numpy as np
from jaxtyping import Float
from scenedetect import FrameTimecode, SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from sr_jax.errors import UserError
from sr_jax.media.decoding import Picture

# Shorter side of the frames that are compared: a cut changes the whole picture.
_SIDE = 90
# The detectors are asked about the order of frames only, so any rate will do.
_ANY_RATE = 25.0
# Each detector with its threshold in PySceneDetect.
_DETECTORS = {"adaptive": (AdaptiveDetector, 3.0), "content": (ContentDetector, 27.0)}
# A longer wait for the next frame, in seconds, ends a shot: the recording was paused or its times are damaged, and a
# clip across it would hold one picture still and then jump. The slowest that is still filmed is a frame a second.
_LONGEST_WAIT = 1.5


@dataclasses.dataclass(frozen=True)
class ShotOptions:
    """How cuts are found.

    Attributes:
        name: "adaptive" compares a change with the changes around it and so stands fast camera movement; "content" is a
            fixed threshold; "none" looks for no cuts. Neither finds slow dissolves.
        threshold: How large a change is a cut; 0 for PySceneDetect's default, 3 for "adaptive" and 27 for "content".
        least_seconds: What is between two cuts that are nearer than this is left out, a flash for example.
    """

    name: str = "none"
    threshold: float = 0.0
    least_seconds: float = 0.5

    def __post_init__(self):
        if self.name not in ("none", *_DETECTORS):
            raise UserError(f"shots.name is {self.name!r}: it must be none, adaptive or content")
        if self.threshold < 0:
            raise UserError(f"shots.threshold is {self.threshold:g}: it must be positive, or 0 for the usual one")


class ShotFinder:
    """Looks at the pictures of one video in order; see `decoding.scan_video`."""

    def __init__(self, options: ShotOptions):
        self._options, self._detector = options, None
        self._count = 0
        self._cuts: list[int] = []

    def __call__(self, picture: Picture) -> None:
        """Looks at the next picture."""
        if not picture.follows:
            self._cuts.append(self._count)
            # Frames of different sizes cannot be compared, nor those of two recordings need to be.
            self._detector = _detector(self._options)
        if self._detector is not None:
            place = FrameTimecode(self._count, fps=_ANY_RATE)
            pixels = cv2.cvtColor(picture.small(_SIDE), cv2.COLOR_RGB2BGR)
            self._cuts += [cut.frame_num for cut in self._detector.process_frame(place, pixels)]
        self._count += 1

    def shots(self, times: Float[np.ndarray, " f"]) -> list[tuple[int, int]]:
        """First frame and the frame after the last one of each shot, once all pictures have been looked at.

        A shot crosses neither a cut nor a gap in the times, and all its frames have one size. Those shorter than
        `least_seconds` are left out; a video without cuts and gaps is one shot however short it is.

        Args:
            times: When each frame of the video is shown, in seconds.
        """
        waits = np.diff(times)
        gaps = np.flatnonzero(waits > _LONGEST_WAIT) + 1
        pieces = list(itertools.pairwise(sorted({0, *self._cuts, *gaps.tolist(), len(times)})))
        if len(pieces) == 1:
            return pieces
        # The last frame of a piece is shown as long as most are: it may stand before a gap or at the end.
        usual = np.median(waits)
        return [
            (first, end)
            for first, end in pieces
            if times[end - 1] - times[first] + usual >= self._options.least_seconds
        ]


def _detector(options: ShotOptions) -> SceneDetector | None:
    if options.name == "none":
        return None
    detector, usual = _DETECTORS[options.name]
    return detector(options.threshold or usual, min_scene_len=0)

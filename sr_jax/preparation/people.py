"""Who is in a video and how much moves in it, looked at a few times a second while the video is decoded."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sr_jax import registry
from sr_jax.errors import UserError
from sr_jax.media.decoding import Picture
from sr_jax.teachers.base import FaceDetector

# Shorter sides of the pictures in which people and motion are looked for.
_PERSON_SIDE, _MOTION_SIDE = 360, 96
# People are looked for in so many pictures at a time.
_CHUNK = 16
# Motion is that of the fastest twentieth of the picture: a talking head moves little of it.
_FASTEST = 95

Boxes = Float[np.ndarray, "n 4"]
"""Corners x0, y0, x1, y1, the most important person first."""


@runtime_checkable
class PersonFinder(Protocol):
    """Finds people in frames.

    Attributes:
        tells_apart: Whether two people are two boxes.
    """

    tells_apart: bool

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> list[Boxes]:
        """Boxes of the people in each frame, in pixels."""
        ...


@dataclasses.dataclass(frozen=True)
class PersonOptions:
    """How the person of a clip is found and framed.

    Attributes:
        name: What finds people: a module of `preparation.finders`, or anybody's own as `package.module:function`.
            "face" is the face teacher's detector; "none" does not look for people and crops the centre.
        zoom: Height of a crop as a multiple of the person's box; 0 for the largest crop that fits. A crop is never
            smaller than the clip's pixels.
        anchor: Where in the height of a crop the middle of the box lies, 0 is the top.
        looks_per_second: How often people and motion are looked at.
        path: Where the finder's weights lie or are downloaded to, for one that has its own; "" for the cache folder.
    """

    name: str = "none"
    zoom: float = 0.0
    anchor: float = 0.5
    looks_per_second: float = 2.0
    path: str = ""

    def __post_init__(self):
        if self.looks_per_second <= 0:
            raise UserError(f"person.looks_per_second is {self.looks_per_second:g}: it must be more than 0")


@dataclasses.dataclass(frozen=True)
class Look:
    """What one frame of a video shows.

    Attributes:
        frame: Index of the frame.
        people: Boxes in pixels of the video; bystanders are left out.
        motion: How fast the picture moves since the look before, in picture heights a second; NaN for the first look.
    """

    frame: int
    people: Boxes
    motion: float


def load_finder(options: PersonOptions, detector: FaceDetector) -> PersonFinder | None:
    """Loads what the options name, or None when people are not looked for.

    A finder's module defines `load`, with the same arguments and result.

    Raises:
        UserError: For an unknown name, or weights that cannot be had.
    """
    find = registry.find("person finder", options.name, package="sr_jax.preparation.finders", attribute="load")
    return find(options, detector)


class Watcher:
    """Looks at the pictures of one video in order; see `decoding.scan_video`."""

    def __init__(self, finder: PersonFinder | None, looks_per_second: float):
        self._finder, self._gap = finder, 1 / looks_per_second
        self._next, self._count, self._height = 0.0, 0, 0
        self._waiting: list[tuple[int, UInt8[np.ndarray, "h w 3"], float]] = []
        self._looks: list[Look] = []
        self._before: tuple[float, np.ndarray] | None = None
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def __call__(self, picture: Picture) -> None:
        """Looks at the next picture, if it is time to."""
        if not picture.follows:
            # Pictures of another size, or of another recording, share no batch and no motion.
            self._find()
            self._before = None
        if picture.seconds >= self._next - 1e-6 or not picture.follows:
            self._next = max(self._next, picture.seconds - self._gap) + self._gap
            pixels = picture.small(_PERSON_SIDE)
            self._waiting.append((self._count, pixels, self._motion(picture.seconds, pixels)))
            self._height = picture.height
            if len(self._waiting) == _CHUNK:
                self._find()
        self._count += 1

    def looks(self) -> list[Look]:
        """All looks, in order, once all pictures of a video have been looked at."""
        self._find()
        return self._looks

    def _find(self) -> None:
        if not self._waiting:
            return
        frames = np.stack([pixels for _, pixels, _ in self._waiting])
        boxes = self._finder(frames) if self._finder else [np.zeros((0, 4), np.float32)] * len(frames)
        for (frame, _, motion), people in zip(self._waiting, boxes):
            # They were found in smaller pictures.
            boxes_in_pixels = (people * (self._height / frames.shape[1])).astype(np.float32)
            self._looks.append(Look(frame, boxes_in_pixels, motion))
        self._waiting = []

    def _motion(self, seconds: float, pixels: UInt8[np.ndarray, "h w 3"]) -> float:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, _MOTION_SIDE / min(grey.shape))
        # The optical flow needs more than a few pixels.
        size = tuple(max(16, round(side * scale)) for side in grey.shape[::-1])
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        before, self._before = self._before, (seconds, grey)
        if before is None or seconds <= before[0]:
            return float("nan")
        lengths = np.linalg.norm(self._flow.calc(before[1], grey, None), axis=-1)
        return float(np.percentile(lengths, _FASTEST)) / len(grey) / (seconds - before[0])


def motion_between(looks: Sequence[Look]) -> float:
    """Median motion of the looks after the first, in picture heights a second; NaN when there is none.

    The median, because a compressed still picture twitches now and then.
    """
    motions = [look.motion for look in looks[1:] if not np.isnan(look.motion)]
    return float(np.median(motions)) if motions else float("nan")

"""A stand-in for a video depth teacher: a person's silhouette, inflated to a relief.

No trained depth weights come with any package, so this makes do with a published person segmentation network. It tells
the person from the background and bulges the silhouette; it knows nothing of real distances, of which arm is in front,
or of anything behind the person. It lets the method run on real clips without other downloads. Its name says
`stand_in`, so that every dataset that it made says so too: results that need depth need a real teacher or exact depth.
"""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.packages import PackageFile, cache_folder, fetch
from sr_jax.preparation.people import Boxes, PersonFinder, PersonOptions
from sr_jax.sections import Section, cache_path
from sr_jax.teachers.base import DepthTeacher, FaceDetector, file_hash
from sr_jax.teachers.litert import LiteRtNetwork

# MediaPipe's general selfie segmentation network (Apache-2.0). Only this data file is read: the wheel of one platform
# serves all.
WEIGHTS = PackageFile(
    "mediapipe",
    "0.10.14",
    "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
    "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ("--python-version", "3.11", "--implementation", "cp", "--platform", "manylinux2014_x86_64"),
)
_INPUT_SIZE = 256
# A mask of less than this part of the picture is no person.
_LEAST_MASK = 0.01
# Disparity of the person's outline; the background has 0 and the thickest part of the person 1.
_OUTLINE = 0.5


def load(section: Section) -> DepthTeacher:
    """Loads the stand-in; the section's `path` is a folder to keep the weights in, empty for the user's cache folder.

    Raises:
        UserError: When the weights cannot be had, or the package that runs them is not installed.
    """
    return SilhouetteStandIn.from_package(cache_path(section))


def load_finder(options: PersonOptions, detector: FaceDetector) -> PersonFinder:
    """Loads what finds a person by the silhouette; the options' `path` is a folder as in `load`.

    Raises:
        UserError: As `load`.
    """
    del detector
    return MaskFinder(PersonMask.from_package(Path(options.path) if options.path else cache_folder()))


class PersonMask:
    """Tells the pixels of people from the others.

    Attributes:
        weight_hash: Hash of the segmentation network's file.
    """

    def __init__(self, weights: Path):
        """Loads the segmentation network.

        Args:
            weights: The `.tflite` file.

        Raises:
            UserError: When the package that runs it is not installed.
        """
        self.weight_hash = file_hash(weights)
        self._network = LiteRtNetwork(weights)

    @classmethod
    def from_package(cls, cache: Path) -> "PersonMask":
        """Loads the published weights, downloading them (a wheel of 36 MB) into `cache` at the first use."""
        return cls(fetch(WEIGHTS, cache=cache)[0])

    def __call__(self, frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
        """How surely each pixel shows a person, in [0, 1]."""
        inner = cv2.resize(frame, (_INPUT_SIZE, _INPUT_SIZE), interpolation=cv2.INTER_CUBIC)
        mask = self._network(inner[None].astype(np.float32) / 255)[0, :, :, 0]
        height, width = frame.shape[:2]
        method = cv2.INTER_AREA if max(height, width) < _INPUT_SIZE else cv2.INTER_LINEAR
        return np.clip(cv2.resize(mask, (width, height), interpolation=method), 0.0, 1.0)


class MaskFinder:
    """Everything that is a person, in one box."""

    tells_apart = False

    def __init__(self, mask: PersonMask):
        """Takes a person mask."""
        self._mask = mask

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> list[Boxes]:
        """The box in each frame, in pixels; none where no person is."""
        return [_mask_box(self._mask(frame)) for frame in frames]


def _mask_box(mask: Float[np.ndarray, "h w"]) -> Boxes:
    person = mask > 0.5
    if person.mean() < _LEAST_MASK:
        return np.zeros((0, 4), np.float32)
    rows, columns = (np.flatnonzero(person.any(axis=axis)) for axis in (1, 0))
    return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)


class SilhouetteStandIn(DepthTeacher):
    """`DepthTeacher` that is no depth teacher: see the module's description.

    Attributes:
        name: `silhouette_stand_in`.
        weight_hash: Hash of the segmentation network's file.
    """

    name = "silhouette_stand_in"

    def __init__(self, mask: PersonMask):
        """Takes a person mask.

        Args:
            mask: Finds the person.
        """
        self.weight_hash = mask.weight_hash
        self._mask = mask

    @classmethod
    def from_package(cls, cache: Path) -> DepthTeacher:
        """With the published person mask; see `PersonMask.from_package`."""
        return cls(PersonMask.from_package(cache))

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"], fps: float, path: Path) -> Float[np.ndarray, "f h w"]:
        """Returns a made-up disparity in [0, 1]: 0 behind the person, 0.5 at the outline, up to 1 inside.

        Args:
            frames: RGB frames of one clip.
            fps: Frames a second; not used.
            path: The video file; not used.
        """
        del fps, path
        return relief(np.stack([self._mask(frame) for frame in frames]))


def relief(masks: Float[np.ndarray, "f h w"]) -> Float[np.ndarray, "f h w"]:
    """Inflates silhouettes: the further a pixel is from the outline, the nearer, along a circle's arc.

    Args:
        masks: How surely each pixel shows a person, in [0, 1]. A person who is cut off by the frame goes on beyond it.

    Returns:
        Disparity in [0, 1]. The thickest place of the whole video has 1; a thin arm bulges less than a chest.
    """
    depths = np.stack([_distance_to_outline(mask > 0.5) for mask in masks])
    radius = max(float(depths.max()), 1.0)
    bulge = np.sqrt(depths * (2 * radius - depths)) / radius
    return (masks * (_OUTLINE + (1 - _OUTLINE) * bulge)).astype(np.float32)


def _distance_to_outline(person: np.ndarray) -> Float[np.ndarray, "h w"]:
    """Pixels to the nearest pixel without a person, 0 outside; half the longer side where there is no such pixel."""
    if person.all():
        return np.full(person.shape, max(person.shape) / 2, np.float32)
    return cv2.distanceTransform(person.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)

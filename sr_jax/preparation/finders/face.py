"""People are found by their faces, with the detector of the face teacher."""

import numpy as np
from jaxtyping import UInt8

from sr_jax.preparation.people import Boxes, PersonFinder, PersonOptions
from sr_jax.teachers.base import FaceDetector

# A face that is smaller than this part of the largest one's height belongs to a bystander.
_BYSTANDER = 0.4


def load(options: PersonOptions, detector: FaceDetector) -> PersonFinder:
    """Needs no weights of its own."""
    del options
    return FaceFinder(detector)


class FaceFinder:
    """The faces of each frame, largest first, without bystanders'."""

    tells_apart = True

    def __init__(self, detector: FaceDetector):
        """Takes the detector."""
        self._detector = detector

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> list[Boxes]:
        """Boxes of the faces in each frame, in pixels."""
        return [_boxes(np.array([face.box for face in faces])) for faces in self._detector(frames)]


def _boxes(boxes: np.ndarray) -> Boxes:
    """The boxes that are not a bystander's, largest first."""
    if not len(boxes):
        return np.zeros((0, 4), np.float32)
    boxes = boxes[np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable")]
    heights = boxes[:, 3] - boxes[:, 1]
    return boxes[heights >= _BYSTANDER * heights[0]].astype(np.float32)

"""SCRFD, the face detector of insightface's packs (`scrfd_10g_bnkps.onnx` in antelopev2), run by onnxruntime.

Source: Guo et al. 2021, Sample and Computation Redistribution for Efficient Face Detection (arXiv 2105.04714); the
outputs' meaning is that of insightface's `SCRFD`.
"""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.errors import UserError
from sr_jax.teachers.base import Face, FaceDetector, file_hash
from sr_jax.teachers.faces.detections import select_faces
from sr_jax.teachers.faces.onnx import OnnxNetwork

_INPUT_SIZE = 640
_MEAN, _DEVIATION = 127.5, 128.0
# Of the levels of features, by their number.
_STRIDES = {3: (8, 16, 32), 5: (8, 16, 32, 64, 128)}


def open_detector(path: str) -> FaceDetector:
    """Loads the detector from an ONNX file.

    Raises:
        UserError: When there is no path, or the file cannot be run or is of another kind.
    """
    if not path:
        raise UserError("scrfd needs its weights: set faces.detector_path")
    return ScrfdDetector(Path(path))


class ScrfdDetector:
    """`FaceDetector` by SCRFD, with landmarks.

    Attributes:
        name: `scrfd`.
        weight_hash: Hash of the ONNX file.
    """

    name = "scrfd"

    def __init__(self, weights: Path, *, threshold: float = 0.5, max_overlap: float = 0.4):
        """Loads the network.

        Args:
            weights: The ONNX file, of a network that gives landmarks.
            threshold: Least score of a face.
            max_overlap: Of two boxes that overlap more than this (intersection over union), the better one is kept.

        Raises:
            UserError: If the file cannot be run or is of another kind.
        """
        self.weight_hash = file_hash(weights) if weights.is_file() else ""
        self._network = OnnxNetwork(weights)
        self._threshold, self._max_overlap = threshold, max_overlap
        # For each level: scores, then boxes, then landmarks.
        num_outputs = len(self._network.output_shapes)
        if num_outputs % 3 or num_outputs // 3 not in _STRIDES:
            raise UserError(f"{weights} gives {num_outputs} results, expected 9 or 15: use an SCRFD with landmarks")
        self._strides = _STRIDES[num_outputs // 3]
        # One side where the file fixes it; the frame is then fitted in.
        self._size = self._network.input_shape[2] or _INPUT_SIZE

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> list[list[Face]]:
        """Returns the faces of each of the F RGB frames, best score first; an empty list where there is none."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        height, width = frame.shape[:2]
        scale = self._size / max(height, width)
        inner = (min(self._size, max(1, int(width * scale))), min(self._size, max(1, int(height * scale))))
        # The frame lies in the top left corner; the rest is black.
        canvas = np.zeros((self._size, self._size, 3), np.float32)
        canvas[: inner[1], : inner[0]] = cv2.resize(frame, inner, interpolation=cv2.INTER_LINEAR)
        image = ((canvas - _MEAN) / _DEVIATION).transpose(2, 0, 1)[None]
        outputs = [output.reshape(-1, output.shape[-1]) for output in self._network(np.ascontiguousarray(image))]
        levels = len(self._strides)
        found = [
            decode(*outputs[level::levels], stride, self._size, threshold=self._threshold)
            for level, stride in enumerate(self._strides)
        ]
        boxes, scores, points = (np.concatenate(parts) for parts in zip(*found))
        to_pixels = np.array([width / inner[0], height / inner[1]], np.float32)
        return select_faces(boxes, scores, points, (height, width), to_pixels, max_overlap=self._max_overlap)


def decode(
    scores: Float[np.ndarray, "n 1"],
    boxes: Float[np.ndarray, "n 4"],
    landmarks: Float[np.ndarray, "n 10"],
    stride: int,
    size: int,
    *,
    threshold: float,
) -> tuple[Float[np.ndarray, "k 4"], Float[np.ndarray, " k"], Float[np.ndarray, "k 5 2"]]:
    """Reads the faces out of one level.

    Args:
        scores: For each anchor; the anchors of a cell come one after the other, cells row by row.
        boxes: Distances from the cell's corner to the box's left, top, right and bottom, in strides.
        landmarks: Five points x, y from the cell's corner, in strides.
        stride: Pixels from cell to cell.
        size: Side of the image in pixels.
        threshold: Least score.

    Returns:
        Boxes x0, y0, x1, y1, scores and landmarks, in pixels of the network's input.
    """
    side = size // stride
    anchors = len(scores) // side**2
    kept = np.flatnonzero(scores[:, 0] >= threshold)
    cells = kept // anchors
    corner = np.stack([cells % side, cells // side], axis=1).astype(np.float32) * stride
    low, high = corner - boxes[kept, :2] * stride, corner + boxes[kept, 2:] * stride
    points = corner[:, None] + landmarks[kept].reshape(-1, 5, 2) * stride
    return np.concatenate([low, high], axis=1), scores[kept, 0], points

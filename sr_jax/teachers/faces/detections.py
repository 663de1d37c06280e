"""From what a face detector's network found to the faces of a frame."""

import cv2
import numpy as np
from jaxtyping import Float

from sr_jax.teachers.base import Face


def select_faces(
    boxes: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    landmarks: Float[np.ndarray, "n 5 2"],
    frame_size: tuple[int, int],
    to_pixels: Float[np.ndarray, "2"],
    *,
    max_overlap: float,
) -> list[Face]:
    """Returns each face once, best score first, in pixels of the frame.

    Args:
        boxes: Corners x0, y0, x1, y1, in pixels of the network's input.
        scores: One for each box.
        landmarks: Five points x, y, likewise.
        frame_size: Height and width of the frame; boxes are cut off at its edges.
        to_pixels: Factors of x and y from the network's input to the frame.
        max_overlap: See `suppress`.
    """
    limit = np.array(frame_size[::-1], np.float32)
    faces = []
    for index in suppress(boxes, scores, max_overlap):
        box = np.clip(boxes[index].reshape(2, 2) * to_pixels, 0.0, limit).reshape(4)
        faces.append(Face(box=box, score=float(scores[index]), landmarks=landmarks[index] * to_pixels))
    return faces


def suppress(boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"], max_overlap: float) -> list[int]:
    """Greedy non-maximum suppression.

    Args:
        boxes: Corners x0, y0, x1, y1.
        scores: One for each box.
        max_overlap: Largest intersection over union that two kept boxes may have.

    Returns:
        Indices of the kept boxes, best score first.
    """
    corners_and_sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(corners_and_sizes.tolist(), scores.tolist(), 0.0, max_overlap)
    return [int(index) for index in kept]

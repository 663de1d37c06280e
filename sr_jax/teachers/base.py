"""The interfaces that every teacher stands behind.

A teacher reads pixels (or a caption) on the host and returns numpy features. It is never differentiated. Each one
carries a `name` and a `weight_hash`, so that a dataset can say what made it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8


@dataclass(frozen=True)
class Face:
    """One detected face.

    Attributes:
        box: `[4]` float corners x0, y0, x1, y1 in pixels of the frame; pixel i covers i to i + 1.
        score: Confidence in [0, 1].
        landmarks: `[5, 2]` float x, y in pixels (left eye, right eye, nose, mouth left, mouth right, image left first),
            or None where the detector gives none.
    """

    box: Float[np.ndarray, "4"]
    score: float
    landmarks: Float[np.ndarray, "5 2"] | None = None

    @property
    def area(self) -> float:
        """Area of the box in square pixels, 0 for an empty box."""
        width, height = self.box[2:] - self.box[:2]
        return float(max(width, 0.0) * max(height, 0.0))


@runtime_checkable
class FaceDetector(Protocol):
    """Finds faces in frames."""

    name: str
    weight_hash: str

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> list[list[Face]]:
        """Returns the faces of each of the F RGB frames, best score first; an empty list where there is none."""
        ...


@runtime_checkable
class FaceRecogniser(Protocol):
    """Embeds faces so that the same person has similar embeddings."""

    name: str
    weight_hash: str
    embedding_dim: int

    def embed(
        self, frames: UInt8[np.ndarray, "f h w 3"], faces: Sequence[Face | None]
    ) -> tuple[Float[np.ndarray, "f e"], Bool[np.ndarray, " f"]]:
        """Embeds one face a frame.

        Args:
            frames: RGB frames.
            faces: One face for each frame, or None.

        Returns:
            Embeddings of unit length, rows of zeros where there is no face, and where a face was embedded.
        """
        ...


FACE_CHOICES = ("largest", "first")
"""Of several faces in a frame: the largest, or the one most like the largest of the clip's first frame with a face."""


@dataclass(frozen=True)
class FaceTeacher:
    """A detector and the recogniser that reads its faces, loaded together.

    Attributes:
        detector: Finds faces.
        recogniser: Embeds one a frame.
        choice: Which one: a word of `FACE_CHOICES`.
    """

    detector: FaceDetector
    recogniser: FaceRecogniser
    choice: str = "largest"


@runtime_checkable
class DepthTeacher(Protocol):
    """Gives the depth of every pixel of a clip."""

    name: str
    weight_hash: str

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"], fps: float, path: Path) -> Float[np.ndarray, "f h w"]:
        """Returns float32 values like disparity (near is large, any scale) for all frames of one video.

        Args:
            frames: All RGB frames of the video, not yet cut into clips.
            fps: Frames a second.
            path: The video file; a teacher may read a file beside it.
        """
        ...


@runtime_checkable
class TextTeacher(Protocol):
    """Embeds captions token by token."""

    name: str
    weight_hash: str

    def __call__(self, prompts: Sequence[str]) -> Float[np.ndarray, "n l d"]:
        """Returns float32 token embeddings of N captions, padded or cut to a fixed number of tokens L."""
        ...


def file_hash(path: Path) -> str:
    """Returns the first 16 hex digits of a file's sha256: the `weight_hash` of what was loaded from it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]

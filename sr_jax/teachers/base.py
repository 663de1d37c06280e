"""The interfaces that every teacher stands behind.

A teacher reads pixels (or a caption) on the host and returns features. It is never differentiated. Each one carries a
`name` and a `weight_hash`, so that a dataset can say what made it. What makes fields of records is a `FeatureTeacher`;
those of depth, faces and text are made of the smaller parts here.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float, Shaped, UInt8

from sr_jax.backbones.codec import VideoCodec
from sr_jax.media.decoding import VideoInfo


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
    """Gives the depth of every pixel of a clip.

    A class that inherits from this one needs `name`, `weight_hash` and `__call__` alone.

    Attributes:
        settings: See `FeatureTeacher`.
    """

    name: str
    weight_hash: str
    settings: Mapping[str, str] = {}

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"], fps: float, path: Path) -> Float[np.ndarray, "f h w"]:
        """Returns float32 values like disparity (near is large, any scale) for all frames of one video.

        Args:
            frames: All RGB frames of the video, not yet cut into clips.
            fps: Frames a second.
            path: The video file; a teacher may read a file beside it.
        """
        ...

    def beside(self, path: Path) -> Iterator[Float[np.ndarray, "h w"]] | None:
        """Disparity of each frame, where it lies beside the video; see `FeatureTeacher`."""
        del path
        return None

    def check(self, path: Path, info: VideoInfo) -> None:
        """Checks what lies beside a video; see `FeatureTeacher`."""


@runtime_checkable
class TextTeacher(Protocol):
    """Embeds captions token by token.

    A class that inherits from this one needs `name`, `weight_hash` and `__call__` alone.
    """

    name: str
    weight_hash: str

    def __call__(self, prompts: Sequence[str]) -> Float[np.ndarray, "n l d"]:
        """Returns float32 token embeddings of N captions, padded or cut to a fixed number of tokens L."""
        ...

    def cut(self, prompt: str) -> str:
        """The end of a caption for which there are no tokens: it is not embedded. "" where nothing is cut off."""
        del prompt
        return ""

    def release(self) -> None:
        """Takes large weights off the device; the next captions bring them back."""


@dataclass(frozen=True)
class ClipBatch:
    """Clips of one size, as feature teachers see them; still images are clips of one frame, in batches of their own.

    Every batch of a preparation has the same number of rows, so that one shape is compiled.

    Attributes:
        frames: RGB.
        fps: Frames a second.
        paths: The video file of each clip.
        prompts: The caption of each clip.
        count: How many clips there are. Rows behind them repeat the last one, and what is made of them is thrown away.
        beside: What the teacher's `beside` gave for these frames, cut and scaled as they were; None if that is nothing.
    """

    frames: UInt8[np.ndarray, "n f h w 3"]
    fps: float
    paths: Sequence[Path]
    prompts: Sequence[str]
    count: int
    beside: Shaped[np.ndarray, "n f y x *c"] | None = None


@runtime_checkable
class FeatureTeacher(Protocol):
    """Makes fields of records from clips.

    A class that inherits from this one needs `name`, `weight_hash`, `fields` and `__call__` alone.

    Attributes:
        name: Names the teacher in provenance.
        weight_hash: Names its weights there.
        fields: What it makes: the axes of each field, see `data.fields`. T, H, W and C are those of the codec's
            latents; other axes have the sizes that the arrays have.
        kept: Names of arrays that it makes besides and that belong in no record: they are kept beside the clip's
            pixels for evaluation, `[N, ...]` of any shape.
        settings: What else decides how a video is read, for the preparation's manifest.
    """

    name: str
    weight_hash: str
    fields: Mapping[str, str]
    kept: Sequence[str] = ()
    settings: Mapping[str, str] = {}

    def __call__(self, clips: ClipBatch, codec: VideoCodec) -> dict[str, Shaped[Array | np.ndarray, "n ..."]]:
        """Returns `fields` and `kept` of each row of a batch, of any float type.

        Args:
            clips: The clips.
            codec: Encodes what a field holds as latents; its ratios say which frames a latent frame covers.

        Raises:
            UserError: When the clips do not fit.
        """
        ...

    def beside(self, path: Path) -> Iterator[Shaped[np.ndarray, "y x *c"]] | None:
        """What lies beside a video, an entry for each frame; None for a teacher that reads nothing.

        An entry is of the frame's size, or on a coarser grid over the whole frame; it is cropped as the frame is.

        Args:
            path: The video file; see `teachers.beside` for names of files beside it.

        Raises:
            UserError: When that is missing or unreadable; possibly only after some frames.
        """
        del path
        return None

    def check(self, path: Path, info: VideoInfo) -> None:
        """Checks what lies beside a video before anything is made.

        Args:
            path: The video file.
            info: What it holds.

        Raises:
            UserError: When that is missing or unreadable, or does not fit the video.
        """

    def provenance(self, slot: str) -> dict[str, dict[str, str]]:
        """What a dataset keeps of the teacher: entries with `name`, `weight_hash` and settings, by their names.

        Args:
            slot: What the config calls the teacher.
        """
        return {slot: identify(self)}


def identify(part: Any) -> dict[str, str]:
    """Name and weight hash of a teacher, as provenance keeps them."""
    return {"name": part.name, "weight_hash": part.weight_hash}


def file_hash(path: Path) -> str:
    """Returns the first 16 hex digits of a file's sha256: the `weight_hash` of what was loaded from it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]

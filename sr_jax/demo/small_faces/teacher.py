"""The demo's face teacher: a small detector and a small recogniser, fitted by `sr_jax.demo.fit_teachers`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from sr_jax.demo.small_faces.crop import crop_faces
from sr_jax.demo.small_faces.detector import STRIDE, FaceDetectorConfig, FaceDetectorNetwork, find_peaks
from sr_jax.demo.small_faces.weights import read_config, read_params
from sr_jax.models.functional import Functional, Params
from sr_jax.models.resnet import ResNet
from sr_jax.sections import Section, weights_path
from sr_jax.teachers.base import Face, FaceTeacher, file_hash

DETECTOR_FILE = "detector.safetensors"
RECOGNISER_FILE = "recogniser.safetensors"

# Frames in one call of a network: whatever the length of a video, one shape is compiled.
_CHUNK = 64
# Candidates a frame; the overlap above which the weaker of two is dropped; and the part of the best score that a second
# face must reach, because hands and sleeves look a little like faces.
_CANDIDATES, _OVERLAP, _LEAST_OF_BEST = 8, 0.3, 0.9


@dataclass(frozen=True)
class FaceRecogniserConfig:
    """Size of a small recogniser.

    Attributes:
        crop_size: Side of a face crop in pixels.
        margin: Side of the crop over the longer side of the face's box.
        widths: Channels of the residual network's stages.
        blocks_per_stage: Blocks in each stage.
        embedding_dim: Width of the embedding.
    """

    crop_size: int
    margin: float
    widths: tuple[int, ...]
    blocks_per_stage: int
    embedding_dim: int


def detector_network(config: FaceDetectorConfig) -> Functional:
    """The network of a small detector."""
    return Functional(lambda rngs: FaceDetectorNetwork(config, rngs=rngs))


def recogniser_network(config: FaceRecogniserConfig) -> Functional:
    """The network of a small recogniser: crops `[N, S, S, 3]` to raw embeddings `[N, E]`."""
    return Functional(lambda rngs: ResNet(3, config.widths, config.blocks_per_stage, config.embedding_dim, rngs=rngs))


def embed_crops(network: Functional, params: Params, crops: Float[Array, "n s s 3"]) -> Float[Array, "n e"]:
    """Embeddings of unit length of crops in [-1, 1]."""
    raw = network.apply(params, crops)
    return raw / jnp.maximum(jnp.linalg.norm(raw, axis=-1, keepdims=True), 1e-6)


def to_unit_range(frames: UInt8[Array, "*n h w 3"] | UInt8[np.ndarray, "*n h w 3"]) -> Float[Array, "*n h w 3"]:
    """Pixels 0 to 255 as float32 in [-1, 1]."""
    return jnp.asarray(frames, jnp.float32) / 127.5 - 1


class SmallFaceDetector:
    """`FaceDetector` by a `FaceDetectorNetwork`."""

    name = "small_face_detector"

    def __init__(self, config: FaceDetectorConfig, params: Params, *, weight_hash: str, threshold: float = 0.3):
        """Compiles on first use.

        Args:
            config: Size of the network.
            params: Its parameters.
            weight_hash: Names the weights in provenance.
            threshold: Least score of a face.
        """
        self.weight_hash = weight_hash
        self._height = config.frame_height
        self._threshold = threshold
        network = detector_network(config)
        self._find = jax.jit(lambda frames: find_peaks(network.apply(params, to_unit_range(frames)), _CANDIDATES))

    @classmethod
    def load(cls, path: Path) -> "SmallFaceDetector":
        """Reads a detector that was fitted by `sr_jax.demo.fit_teachers`.

        Raises:
            UserError: If the file is missing or is not a detector.
        """
        config = read_config(path, FaceDetectorConfig)
        return cls(config, read_params(path, detector_network(config)), weight_hash=file_hash(path))

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> list[list[Face]]:
        """Returns the faces of each frame, best first."""
        scale = self._height / frames.shape[1]
        boxes, scores = _in_chunks(self._find, _resize(frames, scale))
        limits = np.array(frames.shape[2:0:-1] * 2, np.float32)
        boxes = np.clip(boxes / scale, 0, limits)
        return [self._faces(*candidates) for candidates in zip(boxes, scores)]

    def _faces(self, boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"]) -> list[Face]:
        least = max(self._threshold, _LEAST_OF_BEST * scores[0])
        kept: list[Face] = []
        for box, score in zip(boxes, scores):
            if score >= least and all(overlap(box, face.box) <= _OVERLAP for face in kept):
                kept.append(Face(box, float(score)))
        return kept


class SmallFaceRecogniser:
    """`FaceRecogniser` by a residual network on square crops."""

    name = "small_face_recogniser"

    def __init__(self, config: FaceRecogniserConfig, params: Params, *, weight_hash: str):
        """Compiles on first use.

        Args:
            config: Size of the network.
            params: Its parameters.
            weight_hash: Names the weights in provenance.
        """
        self.weight_hash = weight_hash
        self.embedding_dim = config.embedding_dim
        network = recogniser_network(config)

        def embed(frames: Array, boxes: Array) -> Array:
            crops = crop_faces(to_unit_range(frames), boxes, size=config.crop_size, margin=config.margin)
            return embed_crops(network, params, crops)

        self._embed = jax.jit(embed)

    @classmethod
    def load(cls, path: Path) -> "SmallFaceRecogniser":
        """Reads a recogniser that was fitted by `sr_jax.demo.fit_teachers`.

        Raises:
            UserError: If the file is missing or is not a recogniser.
        """
        config = read_config(path, FaceRecogniserConfig)
        return cls(config, read_params(path, recogniser_network(config)), weight_hash=file_hash(path))

    def embed(
        self, frames: UInt8[np.ndarray, "f h w 3"], faces: Sequence[Face | None]
    ) -> tuple[Float[np.ndarray, "f e"], Bool[np.ndarray, " f"]]:
        """Embeds one face a frame; see `FaceRecogniser`."""
        found = np.array([face is not None for face in faces], bool)
        embeddings = np.zeros((len(frames), self.embedding_dim), np.float32)
        if found.any():
            boxes = np.stack([face.box for face in faces if face is not None]).astype(np.float32)
            embeddings[found] = _in_chunks(self._embed, frames[found], boxes)
        return embeddings, found


def load(section: Section) -> FaceTeacher:
    """Loads what lies in the folder that the section's `path` names.

    Raises:
        UserError: If there is no path, or a file is missing or of another kind.
    """
    return load_small_faces(weights_path(section))


def load_small_faces(folder: Path) -> FaceTeacher:
    """Reads the detector and recogniser that `sr_jax.demo.fit_teachers` wrote to `folder`.

    Raises:
        UserError: If a file is missing or of another kind.
    """
    return FaceTeacher(
        SmallFaceDetector.load(folder / DETECTOR_FILE), SmallFaceRecogniser.load(folder / RECOGNISER_FILE)
    )


def overlap(first: Float[np.ndarray, "4"], second: Float[np.ndarray, "4"]) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    intersection = np.prod(np.maximum(sides, 0))
    union = np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - intersection
    return float(intersection / union) if union > 0 else 0.0


def _resize(frames: UInt8[np.ndarray, "f h w 3"], scale: float) -> UInt8[np.ndarray, "f y x 3"]:
    """Scales frames and repeats their border at the right and bottom up to multiples of the detector's stride."""
    if scale != 1:
        size = (max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        frames = np.stack([cv2.resize(frame, size, interpolation=method) for frame in frames])
    bottom, right = (-side % STRIDE for side in frames.shape[1:3])
    return np.pad(frames, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")


def _in_chunks(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """Calls `function` on slices of `_CHUNK` rows, the last one padded, and joins what it returns."""
    pieces = []
    for start in range(0, len(arrays[0]), _CHUNK):
        rows = [array[start : start + _CHUNK] for array in arrays]
        missing = _CHUNK - len(rows[0])
        padded = [np.pad(piece, ((0, missing),) + ((0, 0),) * (piece.ndim - 1), mode="edge") for piece in rows]
        pieces.append(jax.device_get(function(*padded)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(arrays[0])], *pieces)

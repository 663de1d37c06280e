"""Bringing faces into the position that recognisers were trained on, by five landmarks."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from skimage.transform import SimilarityTransform

from sr_jax.errors import UserError
from sr_jax.teachers.base import Face

ARCFACE_SIZE = 112
"""Side of the images that ArcFace recognisers see, in pixels."""

ARCFACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""Where eyes, nose and mouth corners lie in them (insightface: `arcface_dst`)."""


class AlignedFaceRecogniser:
    """`FaceRecogniser` by a network on faces that are aligned to a template.

    Attributes:
        name: Names the recogniser in provenance.
        weight_hash: Names the weights in provenance.
        embedding_dim: Width of an embedding.
    """

    def __init__(
        self,
        embed: Callable[[UInt8[np.ndarray, "b s s 3"]], Float[np.ndarray, "b e"]],
        *,
        name: str,
        weight_hash: str,
        embedding_dim: int,
        template: Float[np.ndarray, "5 2"] = ARCFACE_TEMPLATE,
        size: int = ARCFACE_SIZE,
        batch: int = 32,
    ):
        """Keeps what it is given.

        Args:
            embed: The network: from a batch of aligned RGB faces to their raw embeddings, each from its own face alone.
            name: Names the recogniser in provenance.
            weight_hash: Names the weights in provenance.
            embedding_dim: Width of an embedding.
            template: Places of the landmarks in an aligned face, in pixels.
            size: Side of an aligned face in pixels.
            batch: Faces in every call of the network, black ones where there are not so many: one shape is compiled.
        """
        self.name, self.weight_hash, self.embedding_dim = name, weight_hash, embedding_dim
        self._embed, self._template, self._size, self._batch = embed, template, size, batch

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
        for start in range(0, len(rows), self._batch):
            part = rows[start : start + self._batch]
            chips = np.zeros((self._batch, self._size, self._size, 3), np.uint8)
            for chip, row in zip(chips, part):
                chip[:] = align(frames[row], faces[row], self._template, self._size)
            raw = np.asarray(self._embed(chips))[: len(part)]
            embeddings[part] = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-6)
        return embeddings, found


def arcface_template(size: int) -> Float[np.ndarray, "5 2"]:
    """The template for images of another size (insightface: `estimate_norm`).

    Multiples of 128 show a little more at both sides, as the networks of that size were trained.
    """
    if size % 128 == 0 and size % ARCFACE_SIZE:
        ratio = size / 128
        return ARCFACE_TEMPLATE * np.float32(ratio) + np.array([8 * ratio, 0], np.float32)
    return ARCFACE_TEMPLATE * np.float32(size / ARCFACE_SIZE)


def align(
    frame: UInt8[np.ndarray, "h w 3"],
    face: Face,
    template: Float[np.ndarray, "5 2"] = ARCFACE_TEMPLATE,
    size: int = ARCFACE_SIZE,
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Turns, scales and shifts a face so that its landmarks come closest to a template; outside the frame is black.

    Args:
        frame: RGB.
        face: A face with landmarks.
        template: Where they should be, in pixels.
        size: Side of the result in pixels.

    Raises:
        UserError: When the face has no landmarks.
    """
    if face.landmarks is None:
        raise UserError("this face recogniser needs a detector that gives landmarks, such as centerface")
    return cv2.warpAffine(frame, similarity(face.landmarks, template), (size, size), flags=cv2.INTER_LINEAR)


def similarity(source: Float[np.ndarray, "n 2"], target: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "2 3"]:
    """The rotation, uniform scale and shift that bring points closest to others in the least-squares sense.

    Source: Umeyama 1991, without reflection (scikit-image).

    Args:
        source: Points x, y.
        target: Where they should go.

    Returns:
        Matrix `[2, 3]` that maps `(x, y, 1)` of the source to the target.
    """
    transform = SimilarityTransform.from_estimate(source.astype(np.float64), target.astype(np.float64))
    return transform.params[:2].astype(np.float32)

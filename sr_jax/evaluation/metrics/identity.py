"""ID score: does the person keep the face of the first frame?"""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sr_jax.teachers.base import FaceTeacher


def face_embeddings(
    frames: UInt8[np.ndarray, "f h w 3"], judge: FaceTeacher
) -> tuple[Float[np.ndarray, "f e"], Bool[np.ndarray, " f"]]:
    """Embedding of the largest face in every frame.

    Args:
        frames: RGB frames `[F, H, W, 3]`.
        judge: Finds and embeds faces; another one than the teacher that supervised.

    Returns:
        Unit-length embeddings `[F, E]` (zero where there is no face) and whether a face was found, `[F]`.
    """
    largest = [max(faces, key=lambda face: face.area, default=None) for faces in judge.detector(frames)]
    embeddings, present = judge.recogniser.embed(frames, largest)
    return embeddings.astype(np.float64), present


def identity_similarity(
    embeddings: Float[np.ndarray, "f e"], present: Bool[np.ndarray, " f"], anchor: Float[np.ndarray, " e"]
) -> Float[np.ndarray, " f"]:
    """Cosine of every frame's face to the anchor face (the paper's ID score before the mean).

    Args:
        embeddings: Unit-length embeddings `[F, E]`.
        present: Whether each frame shows a face, `[F]`.
        anchor: Unit-length embedding of the face in the real first frame.

    Returns:
        Cosines `[F]` in [-1, 1], NaN where no face was found. Higher is better.
    """
    return np.where(present, embeddings @ anchor, np.nan)

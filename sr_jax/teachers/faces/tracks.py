"""The face of a clip: one embedding for each latent frame, whatever finds and knows faces."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.backbones.codec import latent_frames
from sr_jax.teachers.base import Face, FaceDetector, FaceRecogniser


def face_tracks(
    clips: UInt8[np.ndarray, "n f h w 3"],
    detector: FaceDetector,
    recogniser: FaceRecogniser,
    temporal_compression_ratio: int,
    *,
    choice: str = "largest",
) -> tuple[Float[np.ndarray, "n t e"], Float[np.ndarray, "n t"]]:
    """Embeds the person of each clip, once for each latent frame.

    A latent frame's embedding is the mean over the video frames that it covers and that show a face, brought back to
    unit length.

    Args:
        clips: RGB clips of 1 plus a multiple of `temporal_compression_ratio` frames.
        detector: Finds the faces.
        recogniser: Embeds one of each frame.
        temporal_compression_ratio: The codec's.
        choice: Which one: `largest` (as Arc2Face does), or `first`: the one that is most like the largest face of the
            clip's first frame with a face, so that the track stays with one person.

    Returns:
        Embeddings, zeros where there is no face, and the mask: 1.0 where a face was found, else 0.0.

    Raises:
        UserError: If the number of frames does not fit the ratio.
    """
    n, f = clips.shape[:2]
    t = latent_frames(f, temporal_compression_ratio)
    frames = clips.reshape(n * f, *clips.shape[2:])
    faces = detector(frames)
    embeddings, _ = recogniser.embed(frames, [largest(found) for found in faces])
    embeddings = embeddings.reshape(n, f, embeddings.shape[-1])
    for row, clip in enumerate(clips):
        found = faces[row * f : (row + 1) * f]
        if choice == "first" and max(map(len, found)) > 1:
            embeddings[row] = _like_first(clip, found, recogniser)
    # Frame 0 alone, then groups of frames. A frame without a face adds zeros to its group's sum.
    groups = embeddings[:, 1:].reshape(n, t - 1, temporal_compression_ratio, embeddings.shape[-1]).sum(axis=2)
    sums = np.concatenate([embeddings[:, :1], groups], axis=1)
    lengths = np.linalg.norm(sums, axis=-1, keepdims=True)
    mask = lengths > 1e-6
    return np.where(mask, sums / np.maximum(lengths, 1e-6), 0).astype(np.float32), mask[..., 0].astype(np.float32)


def face_track(
    frames: UInt8[np.ndarray, "f h w 3"],
    detector: FaceDetector,
    recogniser: FaceRecogniser,
    temporal_compression_ratio: int,
    *,
    choice: str = "largest",
) -> tuple[Float[np.ndarray, "t e"], Float[np.ndarray, " t"]]:
    """`face_tracks` of one clip."""
    embeddings, masks = face_tracks(frames[None], detector, recogniser, temporal_compression_ratio, choice=choice)
    return embeddings[0], masks[0]


def _like_first(
    frames: UInt8[np.ndarray, "f h w 3"], faces: Sequence[Sequence[Face]], recogniser: FaceRecogniser
) -> Float[np.ndarray, "f e"]:
    """Embeddings of the faces most like the largest one of the first frame that shows any; zeros where none is."""
    rows = np.array([row for row, found in enumerate(faces) for _ in found])
    all_faces = [face for found in faces for face in found]
    embeddings, _ = recogniser.embed(frames[rows], all_faces)
    first = np.flatnonzero(rows == rows[0])
    anchor = embeddings[max(first, key=lambda index: all_faces[index].area)]
    result = np.zeros((len(frames), embeddings.shape[1]), np.float32)
    for row in np.unique(rows):
        candidates = embeddings[rows == row]
        result[row] = candidates[np.argmax(candidates @ anchor)]
    return result


def largest(faces: Sequence[Face]) -> Face | None:
    """The face with the largest box, or None when there is no face."""
    return max(faces, key=lambda face: face.area, default=None)

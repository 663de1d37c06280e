"""The face of a clip: one embedding and one box for each latent frame, whatever finds and knows faces."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.backbones.codec import latent_frames
from sr_jax.teachers.base import Face, FaceDetector, FaceRecogniser


class FaceTracks(NamedTuple):
    """The person of each of N clips, once for each latent frame.

    Attributes:
        embeddings: Of unit length; zeros where there is no face.
        mask: 1.0 where a face was found, else 0.0.
        boxes: Corners x0, y0, x1, y1 of the face as parts of the clip's width and height; zeros where there is none.
    """

    embeddings: Float[np.ndarray, "n t e"]
    mask: Float[np.ndarray, "n t"]
    boxes: Float[np.ndarray, "n t 4"]


def face_tracks(
    clips: UInt8[np.ndarray, "n f h w 3"],
    detector: FaceDetector,
    recogniser: FaceRecogniser,
    temporal_compression_ratio: int,
    *,
    choice: str = "largest",
) -> FaceTracks:
    """Finds and embeds the person of each clip.

    A latent frame's embedding is the mean over the video frames that it covers and that show a face, brought back to
    unit length; its box is the mean over the same frames.

    Args:
        clips: RGB clips of 1 plus a multiple of `temporal_compression_ratio` frames.
        detector: Finds the faces.
        recogniser: Embeds one of each frame.
        temporal_compression_ratio: The codec's.
        choice: Which one: `largest` (as Arc2Face does), or `first`: the one that is most like the largest face of the
            clip's first frame with a face, so that the track stays with one person.

    Raises:
        UserError: If the number of frames does not fit the ratio.
    """
    n, f = clips.shape[:2]
    latent_frames(f, temporal_compression_ratio)
    frames = clips.reshape(n * f, *clips.shape[2:])
    faces = detector(frames)
    chosen = [largest(found) for found in faces]
    embeddings, _ = recogniser.embed(frames, chosen)
    embeddings = embeddings.reshape(n, f, embeddings.shape[-1])
    for row, clip in enumerate(clips):
        rows = slice(row * f, (row + 1) * f)
        if choice == "first" and max(map(len, faces[rows])) > 1:
            embeddings[row], chosen[rows] = _like_first(clip, faces[rows], recogniser)
    # A frame without a face adds zeros to the sum of its latent frame.
    sums = _sums(embeddings, temporal_compression_ratio)
    lengths = np.linalg.norm(sums, axis=-1, keepdims=True)
    mask = lengths > 1e-6
    return FaceTracks(
        np.where(mask, sums / np.maximum(lengths, 1e-6), 0).astype(np.float32),
        mask[..., 0].astype(np.float32),
        np.where(mask, _mean_boxes(chosen, clips.shape, temporal_compression_ratio), 0).astype(np.float32),
    )


def face_track(
    frames: UInt8[np.ndarray, "f h w 3"],
    detector: FaceDetector,
    recogniser: FaceRecogniser,
    temporal_compression_ratio: int,
    *,
    choice: str = "largest",
) -> tuple[Float[np.ndarray, "t e"], Float[np.ndarray, " t"]]:
    """Embeddings and mask of `face_tracks` of one clip."""
    tracks = face_tracks(frames[None], detector, recogniser, temporal_compression_ratio, choice=choice)
    return tracks.embeddings[0], tracks.mask[0]


def _sums(values: Float[np.ndarray, "n f c"], ratio: int) -> Float[np.ndarray, "n t c"]:
    """Sums over the video frames of each latent frame: frame 0 alone, then groups of frames."""
    n, f, c = values.shape
    groups = values[:, 1:].reshape(n, (f - 1) // ratio, ratio, c).sum(axis=2)
    return np.concatenate([values[:, :1], groups], axis=1)


def _mean_boxes(chosen: Sequence[Face | None], shape: tuple[int, ...], ratio: int) -> Float[np.ndarray, "n t 4"]:
    """Mean boxes of the frames with a face of each latent frame, as parts of the clip's width and height."""
    n, f, height, width, _ = shape
    boxes = np.array([np.zeros(4) if face is None else face.box for face in chosen]) / [width, height, width, height]
    found = np.array([face is not None for face in chosen], np.float64)
    counts = _sums(found.reshape(n, f, 1), ratio)
    return _sums(boxes.reshape(n, f, 4), ratio) / np.maximum(counts, 1)


def _like_first(
    frames: UInt8[np.ndarray, "f h w 3"], faces: Sequence[Sequence[Face]], recogniser: FaceRecogniser
) -> tuple[Float[np.ndarray, "f e"], list[Face | None]]:
    """Embeddings of the faces most like the largest one of the first frame that shows any, and these faces."""
    rows = np.array([row for row, found in enumerate(faces) for _ in found])
    all_faces = [face for found in faces for face in found]
    embeddings, _ = recogniser.embed(frames[rows], all_faces)
    first = np.flatnonzero(rows == rows[0])
    anchor = embeddings[max(first, key=lambda index: all_faces[index].area)]
    result = np.zeros((len(frames), embeddings.shape[1]), np.float32)
    chosen: list[Face | None] = [None] * len(frames)
    for row in np.unique(rows):
        candidates = np.flatnonzero(rows == row)
        best = candidates[np.argmax(embeddings[candidates] @ anchor)]
        result[row], chosen[row] = embeddings[best], all_faces[best]
    return result, chosen


def largest(faces: Sequence[Face]) -> Face | None:
    """The face with the largest box, or None when there is no face."""
    return max(faces, key=lambda face: face.area, default=None)

"""How good a codec and a face teacher are, on held-out labelled clips."""

import numpy as np
from jaxtyping import UInt8

from sr_jax.demo.fit_teachers.verification import verification_auc
from sr_jax.demo.labelled_clips import LabelledClips
from sr_jax.demo.small_faces.teacher import overlap
from sr_jax.evaluation.metrics.psnr import psnr
from sr_jax.teachers.base import FaceTeacher
from sr_jax.teachers.faces.tracks import largest

# A detection counts when it overlaps the true face by this much (the usual threshold of detection benchmarks).
_LEAST_OVERLAP = 0.5


def codec_metrics(
    colour: UInt8[np.ndarray, "n f h w 3"],
    decoded_colour: UInt8[np.ndarray, "n f h w 3"],
    depth: UInt8[np.ndarray, "n f h w 3"],
    decoded_depth: UInt8[np.ndarray, "n f h w 3"],
) -> dict[str, float]:
    """Reconstruction of clips and of their coloured depth, each given before and after the codec.

    Returns:
        PSNR in dB, mean over frames: of all frames, of first frames alone, of coloured depth.
    """
    colour_psnr, depth_psnr = (
        np.stack([psnr(*pair) for pair in zip(decoded, clips)])
        for decoded, clips in ((decoded_colour, colour), (decoded_depth, depth))
    )
    return {
        "psnr": float(colour_psnr.mean()),
        "psnr_first_frame": float(colour_psnr[:, 0].mean()),
        "psnr_depth": float(depth_psnr.mean()),
    }


def face_metrics(
    teacher: FaceTeacher, clips: LabelledClips, decoded: UInt8[np.ndarray, "n f h w 3"]
) -> dict[str, float]:
    """Detection and verification on clips, and on the same clips after a codec round trip (`decoded`).

    Embeddings are of the faces that the detector finds, right or wrong, in frames that show a face.

    Returns:
        For clean frames: `recall` (part of the visible faces whose largest detection overlaps by half),
        `false_alarms` (part of the frames without a visible face where one is found), `auc` (verification over all
        pairs of frames) and `auc_across_clips` (the same person's pairs only from two clips; NaN if nobody appears
        twice). The same names with `codec_` before them for the round trip.
    """
    degraded = _face_metrics(teacher, clips._replace(frames=decoded))
    return _face_metrics(teacher, clips) | {f"codec_{name}": value for name, value in degraded.items()}


def _face_metrics(teacher: FaceTeacher, clips: LabelledClips) -> dict[str, float]:
    n, f = clips.frames.shape[:2]
    frames = clips.frames.reshape(n * f, *clips.frames.shape[2:])
    boxes, visible = clips.face_boxes.reshape(n * f, 4), clips.face_visible.reshape(n * f)
    faces = [largest(found) for found in teacher.detector(frames)]
    hits = [face is not None and overlap(face.box, box) >= _LEAST_OVERLAP for face, box in zip(faces, boxes)]
    embeddings, present = teacher.recogniser.embed(frames, faces)
    used = np.flatnonzero(present & visible)
    clip = used // f
    identities = [clips.identities[index] for index in clip]
    return {
        "recall": float(np.mean(np.array(hits)[visible])) if visible.any() else float("nan"),
        "false_alarms": float(present[~visible].mean()) if not visible.all() else float("nan"),
        "auc": verification_auc(embeddings[used], identities),
        "auc_across_clips": verification_auc(embeddings[used], identities, clip.tolist()),
    }

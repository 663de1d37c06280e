import numpy as np

from benchmarks.real_faces import SPLICES, spliced
from sr_jax.packages import cache_folder
from sr_jax.teachers.base import FaceTeacher
from sr_jax.teachers.faces.centerface import CenterFaceDetector


class Constant:
    """Embeds every face alike: the mask depends on the detector alone."""

    name, weight_hash, embedding_dim = "constant", "none", 2

    def embed(self, frames, faces):
        found = np.array([face is not None for face in faces])
        return np.where(found[:, None], np.float32([0.6, 0.8]), np.float32(0)), found


def test_the_mask_is_0_where_a_title_follows_a_person():
    teacher = FaceTeacher(CenterFaceDetector.from_package(cache_folder()), Constant())
    mask = spliced(teacher, SPLICES["face_noface"])
    # The clip's first 20 frames show the person: latent frames 0 to 4, and three frames of latent frame 5.
    assert mask == {"person": [1] * 5, "both": [1], "title": [0] * 7}

import numpy as np

from sr_jax.evaluation.judges import find_faces
from sr_jax.evaluation.metrics.id_score import identity_similarity
from sr_jax.evaluation.metrics.structure_error import structure_error
from sr_jax.teachers.base import Face, FaceTeacher


class _Detector:
    name = "brightness"
    weight_hash = "0"

    def __call__(self, frames):
        small = Face(np.array([0.0, 0.0, 2.0, 2.0]), 0.9)
        large = Face(np.array([2.0, 2.0, 8.0, 8.0]), 0.5)
        return [[small, large] if frame.max() > 0 else [] for frame in frames]


class _Recogniser:
    """Embeds a face as the colour in the middle of its box."""

    name = "colour"
    weight_hash = "0"
    embedding_dim = 3

    def embed(self, frames, faces):
        rows = np.zeros((len(frames), 3), np.float32)
        for row, frame, face in zip(rows, frames, faces, strict=True):
            if face is not None:
                x, y = (face.box[:2] + face.box[2:]) / 2
                row[:] = frame[int(y), int(x)] / np.linalg.norm(frame[int(y), int(x)].astype(float))
        return rows, np.array([face is not None for face in faces])


def test_similarity_uses_the_largest_face_and_leaves_out_frames_without_one():
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    frames[0, 2:, 2:] = [200, 0, 0]
    frames[1, 2:, 2:] = [0, 100, 0]
    frames[3, 2:, 2:] = [90, 90, 0]
    frames[:, 0:2, 0:2] = frames[:, 7:8, 7:8] * 0  # the small box holds no colour
    embeddings, present = find_faces(frames, FaceTeacher(_Detector(), _Recogniser()))
    np.testing.assert_array_equal(present, [True, True, False, True])
    cosines = identity_similarity(embeddings, present, embeddings[0])
    np.testing.assert_allclose(cosines, [1, 0, np.nan, np.sqrt(0.5)], atol=1e-6)


def test_structure_error_is_percent_of_the_range():
    true = np.zeros((3, 4, 5))
    predicted = true.copy()
    predicted[1, :2] = 0.5
    predicted[2] = 1.0
    np.testing.assert_allclose(structure_error(predicted, true), [0, 25, 100])

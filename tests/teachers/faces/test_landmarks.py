import cv2
import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.teachers.base import Face, FaceRecogniser
from sr_jax.teachers.faces.dlib import INPUT_SIZE, TEMPLATE
from sr_jax.teachers.faces.landmarks import ARCFACE_SIZE, ARCFACE_TEMPLATE, AlignedFaceRecogniser, align, similarity


def turned(points, angle, scale, shift=(0.0, 0.0)):
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points @ rotation.T + shift).astype(np.float32), rotation


@pytest.mark.parametrize(("angle", "scale"), [(0.0, 1.0), (0.4, 2.5), (-2.0, 0.3)])
def test_similarity_recovers_a_rotation_scale_and_shift(angle, scale):
    points = np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32) * 20
    moved, rotation = turned(points, angle, scale, (7.0, -3.0))
    np.testing.assert_allclose(similarity(points, moved), np.concatenate([rotation, [[7.0], [-3.0]]], 1), atol=1e-4)


def test_similarity_is_the_least_squares_one():
    rng = np.random.default_rng(2)
    source, target = rng.normal(size=(2, 5, 2)).astype(np.float32) * 20
    # Unknown a, b, u, v of x' = a x - b y + u, y' = b x + a y + v.
    rows = [[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in source]
    a, b, u, v = np.linalg.lstsq(np.reshape(rows, (10, 4)), target.ravel(), rcond=None)[0]
    np.testing.assert_allclose(similarity(source, target), [[a, -b, u], [b, a, v]], atol=1e-3)


@pytest.mark.parametrize(("template", "size"), [(ARCFACE_TEMPLATE, ARCFACE_SIZE), (TEMPLATE, INPUT_SIZE)])
def test_an_aligned_face_has_its_landmarks_at_the_template(template, size):
    landmarks, _ = turned(template, 0.3, 60 / size, (40.0, 10.0))
    centres = []
    for point in landmarks:
        frame = np.zeros((120, 160, 3), np.uint8)
        cv2.circle(frame, tuple(round(16 * float(value)) for value in point), 3 * 16, (255, 255, 255), -1, shift=4)
        chip = align(frame, Face(np.zeros(4, np.float32), 1.0, landmarks), template, size).astype(float).sum(axis=2)
        rows, columns = np.indices(chip.shape)
        centres.append([(columns * chip).sum() / chip.sum(), (rows * chip).sum() / chip.sum()])
    np.testing.assert_allclose(centres, template, atol=0.5)


def mean_colour(chips):
    assert chips.shape == (32, ARCFACE_SIZE, ARCFACE_SIZE, 3)
    return chips.reshape(32, -1, 3).mean(axis=1).astype(np.float32)


def test_embeddings_are_of_unit_length_and_zero_without_a_face():
    colours = np.random.default_rng(2).integers(1, 256, (70, 1, 1, 3), dtype=np.uint8)
    frames = np.tile(colours, (1, 40, 40, 1))
    landmarks = (ARCFACE_TEMPLATE * 40 / ARCFACE_SIZE).astype(np.float32)
    faces = [Face(np.zeros(4, np.float32), 1.0, landmarks) for _ in frames]
    faces[3] = None
    recogniser = AlignedFaceRecogniser(mean_colour, name="colour", weight_hash="none", embedding_dim=3)
    assert isinstance(recogniser, FaceRecogniser)
    embeddings, found = recogniser.embed(frames, faces)
    np.testing.assert_array_equal(found, np.arange(70) != 3)
    colours = colours[:, 0, 0].astype(float)
    expected = np.where(found[:, None], colours / np.linalg.norm(colours, axis=1, keepdims=True), 0)
    # The border of an aligned face is black.
    np.testing.assert_allclose(embeddings, expected, atol=1e-2)
    nobody, none_found = recogniser.embed(frames[:2], [None, None])
    assert not nobody.any() and not none_found.any()


def test_a_face_without_landmarks_is_refused():
    with pytest.raises(UserError, match="landmarks"):
        align(np.zeros((20, 20, 3), np.uint8), Face(np.zeros(4, np.float32), 1.0))

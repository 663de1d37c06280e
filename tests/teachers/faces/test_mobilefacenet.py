import sys

import cv2
import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.teachers.base import Face, FaceRecogniser
from sr_jax.teachers.faces import mobilefacenet
from sr_jax.teachers.faces.mobilefacenet import MobileFaceNetRecogniser

# Eyes, nose, mouth corners of a 112 pixel face, as the ArcFace authors publish them.
PUBLISHED = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]])


class MeanColours:
    """Stands for the network: 192 numbers, the mean of each channel 64 times."""

    def __init__(self, weights):
        self.calls = []

    def __call__(self, values):
        assert values.shape == (2, 112, 112, 3) and values.dtype == np.float32
        self.calls.append(values)
        return np.repeat(values.mean(axis=(1, 2)), 64, axis=1)


@pytest.fixture
def recogniser(tmp_path, monkeypatch):
    monkeypatch.setattr(mobilefacenet, "LiteRtNetwork", MeanColours)
    weights = tmp_path / "network.tflite"
    weights.write_bytes(b"weights")
    return MobileFaceNetRecogniser(weights)


def face(landmarks):
    return Face(np.array([0, 0, 1, 1], np.float32), 1.0, landmarks.astype(np.float32))


@pytest.mark.parametrize("shown", [[True], [True, False, True], [False, True, True, True, False], [False, False]])
def test_each_face_gets_its_own_row(recogniser, shown):
    assert isinstance(recogniser, FaceRecogniser)
    colours = np.random.default_rng(0).integers(0, 256, (len(shown), 3))
    frames = np.broadcast_to(colours[:, None, None], (len(shown), 112, 112, 3)).astype(np.uint8)
    embeddings, found = recogniser.embed(frames, [face(PUBLISHED) if one else None for one in shown])
    np.testing.assert_array_equal(found, shown)
    wanted = np.repeat((colours - 127.5) / 128, 64, axis=1)
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True) * found[:, None]
    np.testing.assert_allclose(embeddings, wanted, atol=1e-3)


def test_a_turned_and_scaled_face_is_brought_to_the_template(recogniser):
    upright = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (112, 112, 3)).astype(np.uint8), (0, 0), 6)
    turn = cv2.getRotationMatrix2D((56, 56), 25, 1.7) + np.array([[0, 0, 60], [0, 0, 50]])
    frame = cv2.warpAffine(upright, turn, (260, 240), flags=cv2.INTER_CUBIC)
    landmarks = PUBLISHED @ turn[:, :2].T + turn[:, 2]
    recogniser.embed(frame[None], [face(landmarks)])
    aligned = recogniser._network.calls[0][0] * 128 + 127.5
    # The corners of the turned face lie outside the frame.
    np.testing.assert_allclose(aligned[30:90, 30:90], upright[30:90, 30:90], atol=3)


def test_a_face_without_landmarks_is_one_clear_error(recogniser):
    with pytest.raises(UserError, match="needs a detector that gives landmarks"):
        recogniser.embed(np.zeros((1, 8, 8, 3), np.uint8), [Face(np.zeros(4, np.float32), 1.0)])


def test_a_missing_package_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    weights = tmp_path / "network.tflite"
    weights.write_bytes(b"weights")
    with pytest.raises(UserError, match="needs ai-edge-litert"):
        MobileFaceNetRecogniser(weights)

import jax
import numpy as np
import pytest

from sr_jax.demo.small_faces.detector import FaceDetectorConfig
from sr_jax.demo.small_faces.teacher import (
    FaceRecogniserConfig,
    SmallFaceDetector,
    SmallFaceRecogniser,
    detector_network,
    overlap,
    recogniser_network,
)
from sr_jax.demo.small_faces.weights import read_config, read_params, save_network
from sr_jax.errors import UserError
from sr_jax.teachers.base import Face, FaceDetector, FaceRecogniser

DETECTOR = FaceDetectorConfig(width=8, blocks=1, frame_height=32)
RECOGNISER = FaceRecogniserConfig(crop_size=8, margin=1.0, widths=(8, 16), blocks_per_stage=1, embedding_dim=6)


def face(x0=0.0, y0=0.0, x1=4.0, y1=4.0, score=1.0):
    return Face(np.array([x0, y0, x1, y1], np.float32), score)


def test_overlap():
    assert overlap(face().box, face().box) == pytest.approx(1)
    assert overlap(face().box, face(x0=2.0, x1=6.0).box) == pytest.approx(1 / 3)
    assert overlap(face().box, face(x0=5.0, x1=6.0).box) == 0


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    params = detector_network(DETECTOR).init(jax.random.key(0))
    params["head"]["bias"] = params["head"]["bias"].at[0].set(0.0)
    save_network(folder / "detector.safetensors", DETECTOR, params)
    save_network(folder / "recogniser.safetensors", RECOGNISER, recogniser_network(RECOGNISER).init(jax.random.key(1)))
    return folder


@pytest.mark.parametrize("size", [(32, 24), (64, 90), (31, 25)])
def test_boxes_are_in_the_frames_own_pixels(saved, size):
    detector = SmallFaceDetector.load(saved / "detector.safetensors")
    frames = np.random.default_rng(0).integers(0, 255, (3, *size, 3)).astype(np.uint8)
    found = detector(frames)
    assert len(found) == 3
    assert isinstance(detector, FaceDetector)
    for faces in found:
        scores = [each.score for each in faces]
        assert scores == sorted(scores, reverse=True)
        for each in faces:
            assert (each.box >= 0).all()
            assert (each.box[2:] <= size[::-1]).all()


def test_detections_do_not_depend_on_the_number_of_frames(saved):
    detector = SmallFaceDetector.load(saved / "detector.safetensors")
    frames = np.random.default_rng(0).integers(0, 255, (70, 32, 24, 3)).astype(np.uint8)
    together, alone = detector(frames), detector(frames[66:67])
    assert len(together) == 70
    assert len(together[66]) == len(alone[0])
    for one, other in zip(together[66], alone[0]):
        np.testing.assert_allclose(one.box, other.box, atol=1e-4)


def test_a_larger_frame_gives_larger_boxes(saved):
    detector = SmallFaceDetector.load(saved / "detector.safetensors")
    frame = np.kron(np.random.default_rng(1).integers(0, 255, (1, 8, 6, 1)), np.ones((1, 4, 4, 3))).astype(np.uint8)
    twice = frame.repeat(2, axis=1).repeat(2, axis=2)
    small, big = detector(frame)[0], detector(twice)[0]
    assert small
    np.testing.assert_allclose(big[0].box, 2 * small[0].box, atol=1.5)


def test_recogniser_gives_unit_length_where_there_is_a_face(saved):
    recogniser = SmallFaceRecogniser.load(saved / "recogniser.safetensors")
    assert isinstance(recogniser, FaceRecogniser)
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 24, 3)).astype(np.uint8)
    faces = [face(x1=10.0, y1=10.0), None, face(2.0, 3.0, 12.0, 14.0), None]
    embeddings, found = recogniser.embed(frames, faces)
    np.testing.assert_array_equal(found, [True, False, True, False])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), [1, 0, 1, 0], atol=1e-5)
    alone, _ = recogniser.embed(frames[2:3], faces[2:3])
    np.testing.assert_allclose(embeddings[2], alone[0], atol=1e-5)
    nobody, none_found = recogniser.embed(frames[:1], [None])
    assert not nobody.any()
    assert not none_found.any()


def test_weights_are_kept_and_hashed(saved, tmp_path):
    network = recogniser_network(RECOGNISER)
    params = network.init(jax.random.key(1))
    path = saved / "recogniser.safetensors"
    # In the file they have half the bytes.
    kept = jax.tree.map(lambda array: np.asarray(array, np.float16).astype(np.float32), params)
    jax.tree.map(np.testing.assert_array_equal, read_params(path, network), kept)
    again = tmp_path / "again.safetensors"
    save_network(again, RECOGNISER, params)
    assert SmallFaceRecogniser.load(again).weight_hash == SmallFaceRecogniser.load(path).weight_hash
    save_network(again, RECOGNISER, network.init(jax.random.key(2)))
    assert SmallFaceRecogniser.load(again).weight_hash != SmallFaceRecogniser.load(path).weight_hash
    assert read_config(path, FaceRecogniserConfig) == RECOGNISER


def test_bad_weights_are_refused(saved, tmp_path):
    with pytest.raises(UserError, match="no network at"):
        SmallFaceDetector.load(tmp_path / "missing.safetensors")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a network"):
        SmallFaceDetector.load(bad)
    with pytest.raises(UserError, match="no parameter"):
        read_params(saved / "detector.safetensors", recogniser_network(RECOGNISER))


def test_a_network_of_another_kind_is_refused(saved):
    with pytest.raises(UserError, match="is not a network of FaceDetectorConfig"):
        SmallFaceDetector.load(saved / "recogniser.safetensors")
    with pytest.raises(UserError, match="is not a network of FaceRecogniserConfig"):
        SmallFaceRecogniser.load(saved / "detector.safetensors")

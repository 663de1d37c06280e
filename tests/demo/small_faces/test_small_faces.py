import jax
import numpy as np
import pytest

from sr_jax.demo.small_faces.detector import FaceDetectorConfig
from sr_jax.demo.small_faces.weights import read_config, read_params, save_network
from sr_jax.errors import UserError
from sr_jax.teachers.base import Face, FaceDetector, FaceRecogniser
from sr_jax.teachers.faces.small import (
    FaceRecogniserConfig,
    SmallFaceDetector,
    SmallFaceRecogniser,
    detector_network,
    face_track,
    face_tracks,
    largest,
    overlap,
    recogniser_network,
)

DETECTOR = FaceDetectorConfig(width=8, blocks=1, frame_height=32)
RECOGNISER = FaceRecogniserConfig(crop_size=8, margin=1.0, widths=(8, 16), blocks_per_stage=1, embedding_dim=6)


def face(x0=0.0, y0=0.0, x1=4.0, y1=4.0, score=1.0):
    return Face(np.array([x0, y0, x1, y1], np.float32), score)


class Brightness:
    """Finds one face in every frame that is not black, and embeds it as the frame's mean colour."""

    name, weight_hash, embedding_dim = "brightness", "none", 3

    def __call__(self, frames):
        return [[face(), face(x1=8.0, score=0.5)] if frame.any() else [] for frame in frames]

    def embed(self, frames, faces):
        found = np.array([each is not None for each in faces])
        assert all(each is None or each.box[2] == 8 for each in faces), "the largest face is embedded"
        colours = frames.reshape(len(frames), -1, 3).mean(axis=1)
        lengths = np.maximum(np.linalg.norm(colours, axis=1, keepdims=True), 1)
        return np.where(found[:, None], colours / lengths, 0).astype(np.float32), found


def painted(*colours):
    return np.array(colours, np.uint8)[:, None, None, :] * np.ones((1, 8, 8, 1), np.uint8)


RED, GREEN, BLACK = (200, 0, 0), (0, 200, 0), (0, 0, 0)


def test_a_latent_frame_has_the_mean_of_the_frames_it_covers():
    frames = painted(RED, RED, GREEN, GREEN, RED, GREEN, BLACK, GREEN, BLACK)
    embedding, mask = face_track(frames, Brightness(), Brightness(), 4)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(embedding, [[1, 0, 0], [half, half, 0], [0, 1, 0]], atol=1e-6)
    np.testing.assert_array_equal(mask, [1, 1, 1])


def test_no_face_gives_exact_zeros_and_a_zero_mask():
    frames = painted(BLACK, RED, RED, BLACK, BLACK)
    embedding, mask = face_track(frames, Brightness(), Brightness(), 2)
    np.testing.assert_array_equal(mask, [0, 1, 0])
    assert not embedding[[0, 2]].any()
    assert np.isfinite(embedding).all()


@pytest.mark.parametrize(("count", "frames", "ratio", "latents"), [(3, 13, 4, 4), (2, 5, 1, 5), (1, 1, 4, 1)])
def test_clips_do_not_mix(count, frames, ratio, latents):
    clips = np.random.default_rng(0).integers(1, 255, (count, frames, 8, 8, 3)).astype(np.uint8)
    clips[-1] = 0
    embeddings, masks = face_tracks(clips, Brightness(), Brightness(), ratio)
    assert embeddings.shape == (count, latents, 3)
    for clip, embedding, mask in zip(clips, embeddings, masks):
        one, one_mask = face_track(clip, Brightness(), Brightness(), ratio)
        np.testing.assert_array_equal(embedding, one)
        np.testing.assert_array_equal(mask, one_mask)
    assert not masks[-1].any()


class TwoPeople:
    """Finds a face in each half of a frame that is not black, and embeds its colour."""

    name, weight_hash, embedding_dim = "two", "none", 3
    # The right half's box is larger.
    boxes = ((0.0, 3.0), (4.0, 8.0))

    def __call__(self, frames):
        return [[face(x0, 0.0, x1, 8.0) for x0, x1 in self.boxes if frame[:, int(x0)].any()] for frame in frames]

    def embed(self, frames, faces):
        embeddings = np.zeros((len(frames), 3), np.float32)
        for row, (frame, each) in enumerate(zip(frames, faces)):
            if each is not None:
                colour = frame[0, int(each.box[0])].astype(np.float32)
                embeddings[row] = colour / np.linalg.norm(colour)
        return embeddings, embeddings.any(axis=1)


def two_halves(*pairs):
    frames = np.zeros((len(pairs), 8, 8, 3), np.uint8)
    for frame, (left, right) in zip(frames, pairs):
        frame[:, :4], frame[:, 4:] = left, right
    return frames


def test_the_track_stays_with_the_first_person_or_with_the_largest_face():
    people = TwoPeople()
    # Nobody; red alone; red is the smaller one; green alone; red is the larger one again.
    frames = two_halves((BLACK, BLACK), (RED, BLACK), (RED, GREEN), (GREEN, BLACK), (GREEN, RED))
    red, green, nobody = [1, 0, 0], [0, 1, 0], [0, 0, 0]
    embedding, mask = face_track(frames, people, people, 1)
    np.testing.assert_allclose(embedding, [nobody, red, green, green, red])
    embedding, mask = face_track(frames, people, people, 1, choice="first")
    np.testing.assert_allclose(embedding, [nobody, red, red, green, red])
    np.testing.assert_array_equal(mask, [0, 1, 1, 1, 1])
    # Of several in the first frame the largest one counts; every clip has its own.
    clips = np.stack([two_halves((GREEN, RED), (RED, GREEN)), two_halves((RED, GREEN), (GREEN, RED))])
    embeddings, _ = face_tracks(clips, people, people, 1, choice="first")
    np.testing.assert_allclose(embeddings, [[red, red], [green, green]])


def test_a_clip_that_does_not_fit_the_ratio_is_refused():
    with pytest.raises(UserError, match="6 frames"):
        face_track(painted(*[RED] * 6), Brightness(), Brightness(), 4)


def test_overlap_and_largest():
    assert overlap(face().box, face().box) == pytest.approx(1)
    assert overlap(face().box, face(x0=2.0, x1=6.0).box) == pytest.approx(1 / 3)
    assert overlap(face().box, face(x0=5.0, x1=6.0).box) == 0
    assert largest([]) is None
    assert largest([face(), face(x1=9.0), face(y1=5.0)]).box[2] == 9


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
    jax.tree.map(np.testing.assert_array_equal, read_params(path, network), params)
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

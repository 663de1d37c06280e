import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones import load_codec
from sr_jax.configs.sections import LINEAR_CODEC, SMALL_FACES
from sr_jax.configs.teachers import get_config
from sr_jax.demo.fit_teachers.faces import FitSchedule, _jittered, _mirrored, face_examples, fit_recogniser
from sr_jax.demo.fit_teachers.fitting import fit_teachers
from sr_jax.demo.fit_teachers.quality import codec_metrics, face_metrics
from sr_jax.demo.linear_codec import LinearVideoCodec
from sr_jax.demo.small_faces.teacher import FaceRecogniserConfig
from sr_jax.errors import UserError
from sr_jax.teachers.base import Face, FaceTeacher
from sr_jax.teachers.registry import load_face_teacher
from tests.demo.toy_people import toy_clips, write_toy_clips

SIZE = FaceRecogniserConfig(crop_size=8, margin=1.0, widths=(8,), blocks_per_stage=1, embedding_dim=4)


def small_config(**changes):
    config = get_config()
    config.detector = {"width": 16, "blocks": 2}
    config.detector_schedule = {"steps": 150, "batch_size": 16, "learning_rate": 1e-2}
    config.recogniser.update(crop_size=8, widths=(16,), embedding_dim=16)
    config.recogniser_schedule = {"steps": 80, "batch_size": 32, "learning_rate": 1e-2}
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_toy_clips(folder / "train", toy_clips("train", 60))
    write_toy_clips(folder / "test", toy_clips("test", 16))
    return folder


@pytest.fixture(scope="module")
def fitted(videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("teachers")
    return output, fit_teachers(small_config(), videos, output)


def test_everything_is_written_and_good_on_new_people(fitted):
    output, metrics = fitted
    assert json.loads((output / "metrics.json").read_text()) == metrics
    assert sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()) == [
        "codec.npz",
        "faces/detector.safetensors",
        "faces/recogniser.safetensors",
        "metrics.json",
    ]
    assert metrics["recall"] > 0.7
    assert metrics["auc_across_clips"] > 0.9
    assert metrics["codec_auc"] > 0.9
    assert metrics["psnr_first_frame"] > 24
    assert load_codec({"name": LINEAR_CODEC, "path": str(output / "codec.npz")}).weight_hash == metrics["codec_hash"]


def test_a_judge_has_another_face_teacher_and_the_same_codec(fitted, videos, tmp_path):
    output, metrics = fitted
    judge = fit_teachers(small_config(parts="faces", seed=1), videos, tmp_path)
    assert judge["auc"] > 0.9
    assert judge["codec_hash"] == metrics["codec_hash"]
    assert not (tmp_path / "codec.npz").exists()
    first, second = (
        load_face_teacher({"name": SMALL_FACES, "path": str(path / "faces")}) for path in (output, tmp_path)
    )
    assert first.detector.weight_hash != second.detector.weight_hash
    assert first.recogniser.weight_hash != second.recogniser.weight_hash


def test_bad_requests_write_nothing(videos, tmp_path):
    output = tmp_path / "output"
    with pytest.raises(UserError, match="parts is 'voices': it must be all, codec or faces"):
        fit_teachers(small_config(parts="voices"), videos, output)
    with pytest.raises(UserError, match=r"no \.mp4 files"):
        fit_teachers(small_config(), tmp_path, output)
    assert not output.exists()


class TrueFaces:
    """Knows the boxes, and embeds everyone by number; the first frame's face is missed."""

    name, weight_hash, embedding_dim = "true", "none", 4

    def __init__(self, clips):
        self.boxes = clips.face_boxes.reshape(-1, 4)
        self.visible = clips.face_visible.reshape(-1)
        self.codes = np.repeat(np.unique(clips.identities, return_inverse=True)[1], clips.frames.shape[1])

    def __call__(self, frames):
        faces = [[Face(box, 1.0)] if seen else [] for box, seen in zip(self.boxes, self.visible)]
        return [[], *faces[1:]]

    def embed(self, frames, faces):
        found = np.array([face is not None for face in faces])
        return np.eye(4, dtype=np.float32)[self.codes] * found[:, None], found


def test_metrics_of_a_known_teacher():
    clips = toy_clips("test", 6)
    oracle = TrueFaces(clips)
    metrics = face_metrics(FaceTeacher(oracle, oracle), clips, 255 - clips.frames)
    visible = clips.face_visible.sum()
    assert metrics["recall"] == pytest.approx((visible - 1) / visible)
    assert metrics["false_alarms"] == 0
    assert metrics["auc"] == metrics["codec_auc_across_clips"] == 1


def test_reconstruction_is_the_mean_over_frames():
    clips = np.full((2, 3, 4, 4, 3), 100, np.uint8)
    off_by_one, off_by_ten = clips + np.uint8(1), clips.copy()
    off_by_ten[:, 0] += 10
    quality = codec_metrics(clips, off_by_ten, clips, off_by_one)
    assert quality["psnr_depth"] == pytest.approx(20 * np.log10(255))
    assert quality["psnr_first_frame"] == pytest.approx(20 * np.log10(25.5))
    assert quality["psnr"] == pytest.approx((quality["psnr_first_frame"] + 2 * 100) / 3)


def test_mirroring_moves_boxes_with_pixels():
    images = jnp.arange(2 * 4 * 10 * 3, dtype=jnp.float32).reshape(2, 4, 10, 3)
    images = jnp.concatenate([images] * 8)
    boxes = jnp.tile(jnp.array([[1.0, 0.0, 4.0, 3.0]]), (16, 1))
    flipped_images, flipped_boxes = _mirrored(images, boxes, jax.random.key(0))
    changed = np.any(np.asarray(flipped_images != images), axis=(1, 2, 3))
    assert 0 < changed.sum() < 16
    for index, was in enumerate(changed):
        x0, _, x1, _ = (int(v) for v in flipped_boxes[index])
        assert (x0, x1) == ((6, 9) if was else (1, 4))
        cut = flipped_images[index, :, x0:x1]
        np.testing.assert_array_equal(cut[:, ::-1] if was else cut, images[index, :, 1:4])


def test_jitter_stays_near_the_box():
    boxes = jnp.tile(jnp.array([[10.0, 20.0, 20.0, 40.0]]), (200, 1))
    moved = np.asarray(_jittered(boxes, jax.random.key(0)))
    sizes = moved[:, 2:] - moved[:, :2]
    np.testing.assert_allclose(sizes[:, 1], 2 * sizes[:, 0], rtol=1e-5)
    assert np.abs(sizes[:, 0] / 10 - 1).max() <= 0.18 + 1e-5
    shifts = (moved[:, 2:] + moved[:, :2]) / 2 - np.array([15, 30])
    assert np.abs(shifts / np.array([10, 20])).max() <= 0.12 + 1e-5
    assert shifts.std() > 0.3


def test_examples_line_up(fitted):
    clips = toy_clips("train", 6)
    examples = face_examples(clips, LinearVideoCodec.load(fitted[0] / "codec.npz"), latent_noise=0.2, seed=0)
    np.testing.assert_array_equal(examples.frames[7], clips.frames[1, 2])
    np.testing.assert_array_equal(examples.boxes[7], clips.face_boxes[1, 2])
    np.testing.assert_array_equal(examples.classes, np.repeat([0, 0, 1, 1, 2, 2], 5))
    difference = examples.degraded.astype(float) - examples.frames
    assert 1 < np.sqrt((difference**2).mean()) < 40


def test_one_person_is_not_enough(fitted):
    clips = toy_clips("train", 2)
    examples = face_examples(clips, LinearVideoCodec.load(fitted[0] / "codec.npz"), latent_noise=0.0, seed=0)
    with pytest.raises(UserError, match="faces of 1 people"):
        fit_recogniser(examples, SIZE, FitSchedule(1, 1, 1e-3), scale=8.0, margin=0.1, seed=0)

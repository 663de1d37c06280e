"""The command, with the small teachers of the demo at random weights."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sr_jax.backbones import load_codec
from sr_jax.configs.prepare import get_config
from sr_jax.data import builder
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.pipeline import eval_examples, train_batches
from sr_jax.demo.fit_teachers.codec import fit_linear_codec
from sr_jax.demo.small_faces import teacher as faces
from sr_jax.demo.small_faces.detector import FaceDetectorConfig
from sr_jax.demo.small_faces.weights import save_network
from sr_jax.errors import UserError
from sr_jax.media.video import read_video, to_unit_range, write_video
from sr_jax.preparation import building, running
from sr_jax.preparation.work import Shard
from tests.preparation import fakes

_ROOT = Path(__file__).parents[1]


def _fit_codec(path, seed):
    clips = np.random.default_rng(seed).integers(0, 256, (2, 13, 32, 24, 3), dtype=np.uint8)
    fit_linear_codec(
        [(1.0, clips)], latent_channels=16, temporal_compression_ratio=4, spatial_compression_ratio=4
    ).save(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    _fit_codec(folder / "codec.npz", seed=0)
    detector = FaceDetectorConfig(width=8, blocks=1, frame_height=32)
    recogniser = faces.FaceRecogniserConfig(crop_size=16, margin=1.3, widths=(8,), blocks_per_stage=1, embedding_dim=6)
    for name, sizes, network in (
        (faces.DETECTOR_FILE, detector, faces.detector_network(detector)),
        (faces.RECOGNISER_FILE, recogniser, faces.recogniser_network(recogniser)),
    ):
        save_network(folder / "faces" / name, sizes, network.init(jax.random.key(0)))
    config = get_config("people")
    config.codec.path = str(folder / "codec.npz")
    config.faces.path = str(folder / "faces")
    config.clip.update(fps=8.0, height=32, width=24)
    config.batch_size = 2
    return config


@pytest.fixture
def videos(tmp_path):
    for name in ("train/a", "train/b", "train/c", "test/a"):
        fakes.write_source(tmp_path / "videos" / f"{name}.mp4", frames=13, size=(32, 24), prompt=f"this is {name}")
    return tmp_path / "videos"


def test_prepared_videos_can_be_trained_on(config, videos, tmp_path, capsys):
    running.prepare(config, videos, tmp_path / "data")
    assert "holds 4 clips" in capsys.readouterr().out
    batch = next(train_batches(tmp_path / "data", batch_size=3, seed=0))
    assert {name: array.shape[1:] for name, array in batch.items()} == {
        "latent_mean": (4, 8, 6, 16),
        "latent_std": (4, 8, 6, 16),
        "image_latents": (5, 1, 8, 6, 16),
        "depth_latent": (4, 8, 6, 16),
        "face_embedding": (4, 6),
        "face_mask": (4,),
        "text_embedding": (48, 256),
    }
    (example,) = eval_examples(tmp_path / "data", "test")
    assert (example["clip_id"], example["prompt"]) == ("a-00000", "this is test/a")


def test_images_alone_can_be_prepared(config, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 24, 3)).astype(np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    np.savez(tmp_path / "images" / "a.depth.npz", depth=1 + pixels[None, ..., 0].astype(np.float32))
    ours = config.copy_and_resolve_references()
    ours.clip.still_images, ours.default_prompt = True, "a person"
    running.prepare(ours, tmp_path / "images", tmp_path / "data")
    assert "kept: 1 clip of 1 image (train 1)" in capsys.readouterr().out
    (example,) = eval_examples(tmp_path / "data", "train")
    mean, _ = load_codec(ours.codec.to_dict()).encode(jnp.asarray(to_unit_range(pixels)[None, None]))
    assert mean.shape == (1, 1, 8, 6, 16)
    np.testing.assert_allclose(example["latent_mean"], mean[0], atol=2e-3 * np.abs(mean).max())
    assert (example["face_mask"].shape, example["fps"]) == ((1,), 8.0)


def test_a_teacher_of_ones_own_is_named_in_the_config(config, videos, tmp_path):
    ours = config.copy_and_resolve_references()
    ours.features = {"hue": {"name": "tests.teachers.toy:Tone", "scale": 2.0}}
    ours.face_boxes = True
    running.prepare(ours, videos, tmp_path / "data")
    assert builder.read_provenance(tmp_path / "data").teachers["hue"] == {"name": "tone", "weight_hash": "none"}
    spec = builder.read_spec(tmp_path / "data")
    assert spec.fields == CORE_FIELDS | {"tone": "t 3", "face_boxes": "t 4"}
    assert (spec.array_shapes()["tone"], spec.array_shapes()["face_boxes"]) == ((4, 3), (4, 4))
    batch = next(train_batches(tmp_path / "data", fields=("tone",), batch_size=3, seed=0))
    assert set(batch) == {"tone"} and batch["tone"].dtype == np.float16
    tones = []
    for name in "abc":
        colours = 2 * read_video(videos / "train" / f"{name}.mp4")[0].mean(axis=(1, 2)) / 255
        tones.append(np.stack([colours[0], *colours[1:].reshape(3, 4, 3).mean(axis=1)]))
    order = np.argsort([tone[0, 0] for tone in batch["tone"]]), np.argsort([tone[0, 0] for tone in tones])
    np.testing.assert_allclose(batch["tone"][order[0]], np.stack(tones)[order[1]], atol=2e-3)
    # The dataset lacks the field that another teacher would write, and is not taken for one without these.
    with pytest.raises(UserError, match=r"have no field 'heat': prepare the videos again with the teacher that writes"):
        train_batches(tmp_path / "data", fields=("heat",), batch_size=3, seed=0)
    with pytest.raises(UserError, match=r"begun with other input or settings \(fields: dataset has .*'tone'"):
        running.prepare(config, videos, tmp_path / "data")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"depth": {"name": "tests.teachers.toy:Heat"}}, r"features\.depth has the name of another section"),
        ({"hue": {"scale": 1.0}}, r"the features\.hue section of the config lacks 'name'"),
        ({"hue": {"name": "colour"}}, "no feature teacher is called 'colour': choose one of dinov2, mobilenet_v2, pre"),
        ({"hue": {"name": "tests.teachers.toy:None"}}, "the feature teacher 'tests.teachers.toy:None' cannot be imp"),
    ],
)
def test_a_teacher_that_cannot_be_had_is_told(config, videos, tmp_path, features, message):
    ours = config.copy_and_resolve_references()
    ours.features = features
    with pytest.raises(UserError, match=message):
        building.make_preparation(ours, videos, tmp_path / "data", strict=True)


def test_videos_that_come_later_are_added(config, videos, tmp_path, capsys):
    running.prepare(config, videos, tmp_path / "data")
    fakes.write_source(videos / "train" / "d.mp4", frames=13, size=(32, 24))
    (videos / "train" / "d.txt").unlink()
    (tmp_path / "captions.csv").write_text("file,caption\ntrain/D.mp4,late\ntrain/a,this is train/a\n")
    later = config.copy_and_resolve_references()
    later.captions, later.default_prompt = str(tmp_path / "captions.csv"), "nobody"
    with pytest.raises(UserError, match=r"1 of 2 rows of .* name no video: line 2 'train/D\.mp4' \(the nearest is"):
        running.prepare(later, videos, tmp_path / "data")
    assert not (tmp_path / "data" / "work").exists()
    (tmp_path / "captions.csv").write_text("file,caption\nd.mp4,late\ntrain/a,this is train/a\n")
    for _ in range(2):
        capsys.readouterr()
        running.prepare(later, videos, tmp_path / "data")
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].endswith("holds 5 clips")
        assert lines[1] == "  kept: 5 clips of 5 videos (train 4, test 1)"
        assert lines[3] == "  captions: beside the video: 4, in the table: 1"
    assert [example["prompt"] for example in eval_examples(tmp_path / "data", "train")][-1] == "late"


def test_another_codec_is_refused(config, videos, tmp_path):
    running.prepare(config, videos, tmp_path / "data")
    _fit_codec(tmp_path / "other.npz", seed=1)
    other = config.copy_and_resolve_references()
    other.codec.path = str(tmp_path / "other.npz")
    with pytest.raises(UserError, match=r"begun with other input or settings \(.*codec\.weight_hash: dataset has"):
        running.prepare(other, videos, tmp_path / "data")


def _break_video(videos):
    (videos / "train" / "b.mp4").write_bytes(b"no video")


def _shorten_video(videos):
    fakes.write_source(videos / "test" / "a.mp4", frames=12, size=(32, 24))


def _lengthen_depth(videos):
    fakes.write_source(videos / "train" / "c.mp4", frames=13, size=(32, 24), depth_frames=14)


def _add_stray_video(videos):
    (videos / "stray.mp4").write_bytes((videos / "train" / "a.mp4").read_bytes())


def _remove_video(videos):
    (videos / "train" / "a.mp4").unlink()


@pytest.mark.parametrize(
    "spoil,message",
    [
        (_break_video, "cannot read the video"),
        (_shorten_video, "is too short: 12 frames"),
        (_lengthen_depth, "has depth for 14 frames, but c.mp4 has 13 frames"),
        (_remove_video, "the video is missing"),
        (_add_stray_video, r"stray\.mp4 lies beside train and test: move it"),
    ],
)
def test_bad_input_writes_nothing(config, videos, tmp_path, spoil, message):
    spoil(videos)
    with pytest.raises(UserError, match=message):
        running.prepare(config, videos, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_bad_input_is_passed_over_and_named(config, videos, tmp_path, capsys):
    skipping = config.copy_and_resolve_references()
    skipping.on_bad_input = "skip"
    _break_video(videos)
    _shorten_video(videos)
    _add_stray_video(videos)
    running.prepare(skipping, videos, tmp_path / "data")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("holds 2 clips")
    assert lines[1] == "  kept: 2 clips of 2 videos (train 2)"
    reasons = "cannot read the video: 1, is too short: 1, lies beside train and test: 1"
    assert lines[2].startswith("  faces: train: ") and lines[2].endswith(" of 8 latent frames have a face")
    assert lines[3:] == ["  captions: beside the video: 2", f"  rejected: 3 files ({reasons})"]
    rows = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    rejected = [Path(row["file"]).relative_to(videos).as_posix() for row in rows]
    assert rejected == ["train/b.mp4", "test/a.mp4", "stray.mp4"]
    assert "Invalid data" in rows[0]["reason"] and "is too short: 12 frames" in rows[1]["reason"]
    for video in (videos / "train").glob("*.mp4"):
        video.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"no clip is left \(kept: 0 clips .* rejected: 5 files"):
        running.prepare(skipping, videos, tmp_path / "none")
    assert not (tmp_path / "none" / "manifest.json").exists()


def test_anybodys_videos(config, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "load_depth_teacher", lambda section: fakes.BrightnessDepth())
    ours = get_config("cogvideox")
    for section in ("codec", "faces", "text"):
        ours[section] = config[section]
    ours.clip.update(num_frames=13, height=32, width=48, stride=6, more_sizes=((48, 32),))
    # The detector has random weights.
    ours.drop.update(no_person=False, several_people=False, least_side=40)
    ours.captions = "captions.jsonl"
    folder = tmp_path / "videos"
    folder.mkdir()
    lines = []
    for name, size in (("wide.mkv", (40, 64)), ("tall.mov", (64, 40)), ("still", (40, 64))):
        speed = 0.0 if name == "still" else 2.0
        scenes = [fakes.scene(seed, 60, speed=speed, size=size) for seed in (1, 2)]
        write_video(folder / "a.mp4", np.concatenate(scenes), 24.0)
        (folder / "a.mp4").rename(folder / name)
        lines.append(json.dumps({"file": name, "caption": f"somebody in {name}"}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    (folder / "nothing.mp4").touch()
    running.prepare(ours, folder, tmp_path / "data")
    # Two shots of 20 clip frames each, so two overlapping clips a shot.
    for size, name in (("32x48", "wide"), ("48x32", "tall")):
        examples = list(eval_examples(tmp_path / "data" / size, "train"))
        assert sorted(item["clip_id"] for item in examples) == [f"{name}-{frame:05d}" for frame in (0, 18, 60, 78)]
        assert {item["prompt"] for item in examples} == {f"somebody in {name}.{'mkv' if name == 'wide' else 'mov'}"}
    outcomes = [json.loads(line) for line in (tmp_path / "data" / "videos.jsonl").read_text().splitlines()]
    assert {item["name"]: item["dropped"] for item in outcomes if item["dropped"]} == {
        "still": {"too little motion": 4}
    }
    assert [item["name"] for item in outcomes if item["rejected"]] == ["nothing"]
    batch = next(train_batches(tmp_path / "data", batch_size=2, seed=0))
    assert batch["latent_mean"].shape[2:4] in ((8, 12), (12, 8))


def test_shards_and_merge_make_the_same_dataset(config, videos, tmp_path):
    running.prepare(config, videos, tmp_path / "one")
    two = tmp_path / "two"
    with pytest.raises(UserError, match=r"group 0 of 2 .* is not finished"):
        running.prepare(config, videos, two, only_merge=True)
    for index in (1, 0):
        running.prepare(config, videos, two, shard=Shard(index, 2))
    running.prepare(config, videos, two, only_merge=True)
    for split in ("train", "test"):
        for one, other in zip(eval_examples(tmp_path / "one", split), eval_examples(two, split), strict=True):
            assert one.keys() == other.keys()
            for name, value in one.items():
                np.testing.assert_array_equal(value, other[name])


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/2", "0/0"])
def test_shards_that_do_not_exist(text):
    with pytest.raises(UserError, match="--shard"):
        Shard.parse(text)


@pytest.mark.parametrize("name,least", [("batch_size", 1), ("noisy_images", 0)])
def test_numbers_that_are_too_small(config, videos, tmp_path, name, least):
    changed = config.copy_and_resolve_references()
    changed[name] = least - 1
    with pytest.raises(UserError, match=f"{name} is {least - 1}: it must be a whole number, at least {least}"):
        running.prepare(changed, videos, tmp_path / "data")
    changed[name] = least
    building.make_preparation(changed, videos, tmp_path / "data", strict=True)


def test_an_output_that_cannot_be_written_is_told_first(config, videos, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(running, "make_preparation", None)
    with pytest.raises(UserError, match=r"cannot write to .*file/data: .*file is not a folder"):
        running.prepare(config, videos, tmp_path / "file" / "data")


def test_output_in_the_input_is_refused(config, videos):
    with pytest.raises(UserError, match="lies in the input"):
        running.prepare(config, videos, videos / "train" / "data")
    assert not (videos / "train" / "data").exists()


def test_command_says_what_is_wrong_in_one_line(config, videos, tmp_path):
    _shorten_video(videos)
    command = [sys.executable, "-m", "sr_jax.prepare", "--config", "configs/prepare.py:people"]
    command += ["--input", str(videos), "--output", str(tmp_path / "data")]
    command += [f"--config.codec.path={config.codec.path}", f"--config.faces.path={config.faces.path}"]
    command += ["--config.clip.fps=8.0", "--config.clip.height=32", "--config.clip.width=24"]
    result = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert errors == [
        f"error: {videos}/test/a.mp4 is too short: 12 frames at 8 frames a second, but one clip is 13 frames at 8"
    ]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "data").exists()

import hashlib
import json

import ml_collections
import numpy as np
import pytest

from sr_jax.backbones.base import ClipSize
from sr_jax.checkpoints import loras, transformers
from sr_jax.data.pipeline import eval_examples
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.errors import UserError
from sr_jax.generation import assembly
from sr_jax.generation import generator as generation
from sr_jax.generation.clip_folder import read_settings
from sr_jax.generation.generator import generate_one, generate_split, load_generator
from sr_jax.media.video import read_video
from sr_jax.models.functional import Functional
from tests.data.synthetic import provenance
from tests.evaluation.conftest import CLIPS, data, make_generator
from tests.evaluation.fakes import FRAMES, HEIGHT, WIDTH, LetterText, PatchCodec, PullingNetwork

__all__ = ("data",)

_MESH = {"data": 1, "fsdp": 1, "context": -1, "tensor": 1, "dcn_data": 1, "dcn_fsdp": 1}


def _latents(folder):
    return {path.stem: np.load(path)["latents"] for path in sorted(folder.glob("*.npz"))}


def test_split_is_written_as_latents_and_videos(data, tmp_path):
    generate_split(make_generator(), data, "test", tmp_path / "out", limit=None)
    latents = _latents(tmp_path / "out")
    assert sorted(latents) == [f"held_out{number:03d}" for number in range(CLIPS)]
    assert all(array.shape == (2, 4, 4, 192) and array.dtype == np.float16 for array in latents.values())
    frames, fps = read_video(tmp_path / "out" / "held_out000.mp4")
    assert (frames.shape, fps) == ((FRAMES, HEIGHT, WIDTH, 3), 8.0)
    settings = read_settings(tmp_path / "out")
    assert (settings["split"], settings["codec_hash"], settings["face_recogniser_hash"]) == ("test", "c0", "t0")


def test_the_clean_image_is_the_condition(data, tmp_path):
    generate_split(make_generator(strength=0.0), data, "test", tmp_path / "out", limit=1)
    example = next(iter(eval_examples(data, "test")))
    latents = np.load(tmp_path / "out" / f"{example['clip_id']}.npz")["latents"].astype(float)
    alike = [np.corrcoef(latents[0].ravel(), draw[0].ravel())[0, 1] for draw in example["image_latents"]]
    assert alike[0] > 0.8 and max(alike[1:]) < 0.2


def test_clips_do_not_depend_on_batches_and_a_stopped_run_continues(data, tmp_path):
    generate_split(make_generator(batch_size=2), data, "test", tmp_path / "a", limit=None)
    generate_split(make_generator(batch_size=3), data, "test", tmp_path / "b", limit=2)
    assert len(_latents(tmp_path / "b")) == 2
    kept = (tmp_path / "b" / "held_out001.mp4").stat().st_mtime_ns
    generate_split(make_generator(batch_size=3), data, "test", tmp_path / "b", limit=None)
    assert (tmp_path / "b" / "held_out001.mp4").stat().st_mtime_ns == kept
    first, second = _latents(tmp_path / "a"), _latents(tmp_path / "b")
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_allclose(array, second[name], rtol=1e-2, atol=1e-2)


def test_folders_of_other_settings_and_other_datasets_are_refused(data, tmp_path):
    generate_split(make_generator(), data, "test", tmp_path / "out", limit=1)
    with pytest.raises(UserError, match="seed=0, now it is 1"):
        generate_split(make_generator(seed=1), data, "test", tmp_path / "out", limit=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.mp4").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        generate_split(make_generator(), data, "test", tmp_path / "full", limit=1)
    generator = make_generator()
    other = generator.__class__(**{**vars(generator), "provenance": provenance(weight_hash="other")})
    with pytest.raises(UserError, match=r"codec\.\w+: dataset has"):
        generate_split(other, data, "test", tmp_path / "new", limit=1)
    assert not (tmp_path / "new").exists()


def test_a_folder_from_before_hashes_were_kept_continues(data, tmp_path):
    generate_split(make_generator(), data, "test", tmp_path, limit=1)
    settings = read_settings(tmp_path)
    with pytest.raises(UserError, match="made with codec_hash='c9', now it is 'c0'"):
        (tmp_path / "sampling.json").write_text(json.dumps(settings | {"codec_hash": "c9"}))
        generate_split(make_generator(), data, "test", tmp_path, limit=1)
    before = {name: value for name, value in settings.items() if not name.endswith("_hash")}
    (tmp_path / "sampling.json").write_text(json.dumps(before))
    generate_split(make_generator(), data, "test", tmp_path, limit=2)
    assert len(_latents(tmp_path)) == 2


def test_one_clip_starts_from_the_image_and_is_all_that_is_written(tmp_path):
    image = np.full((HEIGHT * 2, WIDTH * 2, 3), (10, 200, 60), np.uint8)
    (tmp_path / "o.npz").write_text("somebody's")
    generate_one(make_generator(batch_size=1, strength=0.0), image, "a green wall", tmp_path / "o.mp4")
    frames, fps = read_video(tmp_path / "o.mp4")
    assert (frames.shape, fps) == ((FRAMES, HEIGHT, WIDTH, 3), 8.0)
    red, green, blue = frames[0].reshape(-1, 3).mean(axis=0)
    assert green > red and green > blue
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.mp4", "o.npz"]
    assert (tmp_path / "o.npz").read_text() == "somebody's"


def _checkpoint(monkeypatch, *, params=None, clip=None, schedule=None, stage="stage_two", imported=None, **text):
    """Lets `load_generator` find a checkpoint with a network that returns the noisy latents."""
    made = json.loads(provenance().to_json())
    made["clip"] = clip or made["clip"]
    meta = {
        "stage": stage,
        "step": 3,
        "config": {
            "backbone": "cogvideox",
            "model": {"in_channels": 384, "out_channels": 192},
            "dtype": "float32",
            "schedule": schedule or {},
            "init": {"transformer": "w0"},
            "alignment": {"structure": {"weight": 0.01, "module": "w1"}},
            "lora": {"rank": 2, "alpha": 4.0, "targets": ["layer"]},
        },
        "frozen_steps": {"transformer": 9},
        "imported": imported,
        "provenance": made,
    }
    network = Functional(lambda rngs: PullingNetwork())
    teacher = LetterText()
    vars(teacher).update(text)
    params = params or {"transformer": {"strength": np.float32(0.1)}}
    monkeypatch.setattr(transformers, "open_params", lambda workdir, step: (params, meta))
    monkeypatch.setattr(assembly, "transformer_network", lambda backbone, dtype: network)
    monkeypatch.setattr(generation, "load_codec", lambda section: PatchCodec())
    monkeypatch.setattr(generation, "load_text_teacher", lambda section: teacher)


def _config() -> ml_collections.ConfigDict:
    values = {"codec": {}, "text": {}, "sampler": "ddim", "num_inference_steps": 1, "guidance_scale": 1}
    values |= {"dynamic_guidance": "none", "seed": 5, "batch_size": 2, "image_fit": "crop", "dtype": ""}
    values |= {"timestep_spacing": "", "mesh": _MESH, "sharding": {}, "transformer_stays": True}
    values |= {"long": {"frames": 0, "way": "windows", "overlap": 0.5}}
    values |= {"lora": {"files": (), "weights": ()}}
    values |= {"position_table": "keep", "clip": {"num_frames": 0, "height": 0, "width": 0, "fps": 0.0}}
    return ml_collections.ConfigDict(values)


def test_a_loaded_generator_says_what_made_it(monkeypatch, tmp_path):
    _checkpoint(monkeypatch)
    generator = load_generator(tmp_path / "w2", _config())
    assert generator.made_by["step"] == 3 and generator.made_by["frozen"] == {"structure": "w1"}
    assert generator.made_by["dynamic_guidance"] == "none" and generator.seed == 5
    latents = generator.latents(["a"], np.zeros((1, 1, 4, 4, 192), np.float32), np.zeros((1, 4, 12), np.float32))
    assert latents.shape == (1, 2, 4, 4, 192)


@pytest.mark.parametrize(
    ("schedule", "asked", "used"),
    [
        ({"sampler": "ddim", "timestep_spacing": "linspace"}, {}, ("ddim", "linspace")),
        ({"sampler": "ddim", "timestep_spacing": "linspace"}, {"sampler": "dpm"}, ("dpm", "linspace")),
        ({"sampler": "ddim", "timestep_spacing": "linspace"}, {"timestep_spacing": "trailing"}, ("ddim", "trailing")),
        # What was trained from nothing.
        ({"snr_shift_scale": 100.0}, {}, ("dpm", "trailing")),
    ],
)
def test_sampler_and_timesteps_are_the_schedules_where_nobody_says_otherwise(
    monkeypatch, tmp_path, schedule, asked, used
):
    _checkpoint(monkeypatch, schedule=schedule)
    real, seen = VPrediction.steps, set()

    def steps(process, sampler, count):
        seen.add((sampler or process.sampler, process.config.timestep_spacing))
        return real(process, sampler, count)

    monkeypatch.setattr(VPrediction, "steps", steps)
    config = _config()
    config.sampler = ""
    config.update(asked)
    made_by = load_generator(tmp_path / "w2", config).made_by
    assert seen == {used}
    assert (made_by["sampler"], made_by.get("timestep_spacing", "trailing")) == used


def test_an_import_without_a_scheduler_cannot_be_sampled(monkeypatch, tmp_path):
    _checkpoint(monkeypatch, stage="import", imported={})
    with pytest.raises(UserError, match="was imported without scheduler/, which says how to sample: import the folder"):
        load_generator(tmp_path / "w2", _config())


def test_an_import_is_not_sampled_with_another_codec(monkeypatch, tmp_path):
    identity = {"entry": "codec", "name": "fake", "weight_hashes": ["c9"]}
    _checkpoint(monkeypatch, stage="import", imported={"identities": {"vae": identity}})
    monkeypatch.setattr(generation, "sampling_schedule", lambda checkpoint, meta, spacing: {})
    with pytest.raises(
        UserError, match=r"config\.codec has the weight_hash 'c0', the codec of the model in .* has 'c9'"
    ):
        load_generator(tmp_path / "w2", _config())


def test_the_size_of_clips(monkeypatch, tmp_path):
    """Of the training data; of several sizes the released one, or else the first; or of the dataset to generate."""
    _checkpoint(monkeypatch)
    assert load_generator(tmp_path, _config()).pipeline.clip == ClipSize(5, 16, 16, 8.0)
    made = json.loads(provenance().to_json())
    several = {name: value for name, value in made["clip"].items() if name not in ("height", "width")}

    def size(sizes, data=None, **clip):
        _checkpoint(monkeypatch, clip=several | {"sizes": sizes})
        monkeypatch.setattr(generation, "read_provenance", lambda folder: provenance())
        config = _config()
        config.clip.update(clip)
        found = load_generator(tmp_path, config, data).pipeline.clip
        return found.height, found.width

    assert size(["24x16", "16x24"]) == (24, 16)
    assert size(["24x16", "240x360"]) == (240, 360)
    assert size(["24x16", "16x16"], data=tmp_path) == (16, 16)
    assert size(["24x16", "16x16"], height=32, width=40) == (32, 40)


def test_a_lora_is_merged_before_sampling(monkeypatch, tmp_path):
    factors = {"lora_a": np.ones((3, 2), np.float32), "lora_b": np.full((2, 4), 0.5, np.float32)}
    _checkpoint(monkeypatch, params={"lora": {"layer": factors}})
    base = {9: {"layer": {"kernel": np.ones((3, 4), np.float32)}}}
    monkeypatch.setattr(transformers, "fitted_transformer", lambda config, step: base[step])
    params = load_generator(tmp_path / "w2", _config()).pipeline.transformer.source
    assert params.keys() == {"layer"} and params["layer"].keys() == {"kernel"}
    np.testing.assert_array_equal(params["layer"]["kernel"], np.full((3, 4), 1 + 4 / 2 * 2 * 0.5))


def test_lora_files_are_merged_before_sampling(monkeypatch, tmp_path):
    file = tmp_path / "lora.safetensors"
    file.write_bytes(b"x")
    factors = {"lora_a": np.ones((3, 2), np.float32), "lora_b": np.full((2, 4), 0.5, np.float32)}
    monkeypatch.setattr(loras, "read_lora_file", lambda path, backbone: {"layer": factors})
    _checkpoint(monkeypatch, params={"transformer": {"layer": {"kernel": np.ones((3, 4), np.float32)}}})
    config = _config()
    assert "lora" not in load_generator(tmp_path / "w2", config).made_by
    config.lora.update(files=(str(file), str(file)), weights=(0.5, 3.0))
    generator = load_generator(tmp_path / "w2", config)
    np.testing.assert_array_equal(
        generator.pipeline.transformer.source["layer"]["kernel"], np.full((3, 4), 1 + (0.5 + 3) * 2 * 0.5)
    )
    assert [entry["weight"] for entry in generator.made_by["lora"]] == [0.5, 3.0]
    assert {entry["sha256"] for entry in generator.made_by["lora"]} == {hashlib.sha256(b"x").hexdigest()}


def test_a_checkpoint_of_other_teachers_or_of_stage_one_is_refused(monkeypatch, tmp_path):
    _checkpoint(monkeypatch, weight_hash="t9")
    with pytest.raises(UserError, match=r"config\.text has the weight_hash 't9'"):
        load_generator(tmp_path / "w2", _config())
    _checkpoint(monkeypatch, params={"structure": {}})
    with pytest.raises(UserError, match="generates nothing"):
        load_generator(tmp_path / "w1", _config())


def test_settings_must_be_there(tmp_path):
    with pytest.raises(UserError, match=r"no .*sampling\.json"):
        read_settings(tmp_path)

"""Datasets, schedules and parts of models that do not go together are refused by the field that differs."""

import json
import logging
import shutil
from pathlib import Path

import jax
import pytest

from sr_jax.backbones import cogvideox
from sr_jax.backbones.cogvideox import codec as codecs
from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
from sr_jax.backbones.releases import import_pipeline
from sr_jax.checkpoints import pairs
from sr_jax.checkpoints.reading import read_meta
from sr_jax.configs import base
from sr_jax.conversion.imported import read_record
from sr_jax.conversion.importing import Source
from sr_jax.data import builder
from sr_jax.errors import UserError
from sr_jax.teachers.text.t5 import T5Text
from sr_jax.training import builders, loop
from tests.conversion.folders import contents
from tests.conversion.test_convert import run
from tests.data.synthetic import provenance_for

VAE, TEXT = "codec.weight_hash", "teachers.text.weight_hash"


@pytest.fixture
def config(dataset, imported):
    config = base.get_config("tiny")
    config.model.update(read_meta(imported)["config"]["model"])
    config.schedule.snr_shift_scale = 1.0
    config.optimizer.update(name="adamw", schedule="constant")
    config.update(batch_size=4, num_train_steps=0, text_dropout=0.0)
    config.data.dir, config.init.transformer = str(dataset), str(imported)
    return config


def check(config, workdir):
    """What a run checks before it reads any weights."""
    return loop.checked_provenance(config, workdir, builders.build_stage(config))


@pytest.fixture
def made_with(monkeypatch, imported):
    """Lets every dataset say that other parts made it."""

    def change(entry, **fields):
        made = provenance_for(imported, latent_channels=4)
        (made.codec if entry == "codec" else made.teachers[entry]).update(fields)
        monkeypatch.setattr(builder, "read_provenance", lambda folder: made)

    return change


def test_a_dataset_of_the_model_is_taken_without_a_word(config, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert check(config, tmp_path).codec["name"] == "cogvideox_vae"
    assert "could not be checked" not in caplog.text


@pytest.mark.parametrize(
    ("entry", "fields", "named"),
    [
        (
            "codec",
            {"name": "linear", "weight_hash": "ab"},
            "codec.name is 'linear', of the model it is 'cogvideox_vae'",
        ),
        ("codec", {"scaling_factor": 1.15258426, "weight_hash": "ab"}, "codec.scaling_factor is 1.15258426, of the"),
        ("codec", {"image_condition_factor": 0.7**-2, "weight_hash": "ab"}, "codec.image_condition_factor is 2.04"),
        ("codec", {"weight_hash": "ab"}, f"{VAE} is 'ab', of the model it is '"),
        ("text", {"name": "wordllama"}, "teachers.text.name is 'wordllama', of the model it is 't5'"),
        ("text", {"weight_hash": "ab"}, f"{TEXT} is 'ab', of the model it is '"),
    ],
)
def test_a_dataset_made_with_other_parts_is_refused_by_the_field(config, tmp_path, made_with, entry, fields, named):
    made_with(entry, **fields)
    with pytest.raises(
        UserError, match=r"does not go with the model in .*prepare the videos with it, or allow"
    ) as error:
        check(config, tmp_path)
    assert named in str(error.value)
    config.init.may_differ = tuple(f"{'codec' if entry == 'codec' else 'teachers.text'}.{name}" for name in fields)
    check(config, tmp_path)


def test_what_could_not_be_checked_is_said(config, tmp_path, made_with, monkeypatch, caplog):
    made_with("text", weight_hash="none")
    with caplog.at_level(logging.WARNING):
        check(config, tmp_path)
    assert f"{TEXT}: whether the dataset in {config.data.dir} goes with the model in" in caplog.text
    caplog.clear()
    # An import from before these were written down.
    meta = read_meta(config.init.transformer)
    old = meta | {"imported": {name: value for name, value in meta["imported"].items() if name != "identities"}}
    made_with("codec", weight_hash="ab")
    monkeypatch.setattr(loop, "read_meta", lambda source: old)
    with caplog.at_level(logging.WARNING):
        check(config, tmp_path)
    assert "codec, teachers.text: whether the dataset in" in caplog.text and "could not be checked" in caplog.text


def test_hashes_are_written_by_the_import_and_read_from_there(imported, pipeline, monkeypatch):
    config, params = codecs._from_diffusers(pipeline)
    expected = CogVideoXVAE(config, params).weight_hash
    assert read_record(imported).identities["vae"]["weight_hashes"] == [expected]
    text = T5Text(imported, num_tokens=5, dtype="float32").weight_hash
    assert read_record(imported).identities["text_encoder"]["weight_hashes"][0] == text
    monkeypatch.setattr("sr_jax.backbones.cogvideox.vae.weight_hash", lambda config, params: 1 / 0)
    assert cogvideox.load_codec({"name": "cogvideox", "path": str(imported)}).weight_hash == expected


def test_parts_that_are_not_imported_are_known_as_far_as_the_source_has_them(imported, pipeline, tmp_path):
    source = shutil.copytree(pipeline, tmp_path / "theirs")
    whole = read_record(imported).identities
    import_pipeline(Source(source, "theirs"), tmp_path / "alone", components=["transformer"], dtype="bfloat16")
    assert read_record(tmp_path / "alone").identities == whole
    # As a download of the transformer alone leaves them.
    for path in [*(source / "vae").glob("*.safetensors"), *(source / "text_encoder").glob("*.safetensors")]:
        path.unlink()
    import_pipeline(Source(source, "theirs"), tmp_path / "less", components=["transformer"])
    less = read_record(tmp_path / "less").identities
    assert {
        name: identity | {"weight_hashes": whole[name]["weight_hashes"]} for name, identity in less.items()
    } == whole
    assert not any(identity["weight_hashes"] for identity in less.values())


def test_other_types_of_numbers_are_the_same_weights(imported, pipeline, tmp_path):
    import_pipeline(Source(pipeline, "theirs"), tmp_path / "half", dtype="bfloat16")
    meta = read_meta(tmp_path / "half")
    of_half = provenance_for(tmp_path / "half")
    assert of_half.codec["weight_hash"] != provenance_for(imported).codec["weight_hash"]
    for made in (provenance_for(imported), of_half):
        pairs.require_pair(made, meta, dataset="it", model="m")


@pytest.mark.parametrize(
    ("ours", "named"),
    [
        ({"snr_shift_scale": 3.0}, "config.schedule.snr_shift_scale is 3.0, but the transformer in .* with 1.0"),
        ({"rescale_betas_zero_snr": False}, "config.schedule.rescale_betas_zero_snr is False, but .* with True"),
    ],
)
def test_another_schedule_than_the_transformers_is_refused_or_named(config, imported, tmp_path, ours, named):
    with config.unlocked():
        config.schedule.update(ours)
    with pytest.raises(UserError, match=named):
        check(config, tmp_path / "run")
    config.init.may_differ = tuple(f"schedule.{name}" for name in ours)
    check(config, tmp_path / "run")
    # What the release says of sampling goes with what the config says of training.
    schedule = pairs.trained_schedule(config)
    assert {"sampler": "dpm", "timestep_spacing": "leading", "beta_end": 0.012}.items() <= schedule.items()
    assert ours.items() <= schedule.items()


def test_an_export_carries_the_schedule_that_was_trained_with(config, imported, pipeline, tmp_path):
    config.schedule.snr_shift_scale = 3.0
    config.init.may_differ = ("schedule.snr_shift_scale",)
    loop.train(config, tmp_path / "run", jax.devices()[:1])
    run("export", "--checkpoint", tmp_path / "run", "--base", imported, "--output", tmp_path / "back")
    file = "scheduler/scheduler_config.json"
    before, after = (json.loads(contents(folder)[file]) for folder in (pipeline, tmp_path / "back"))
    assert {name for name in before if before[name] != after[name]} == {"snr_shift_scale"}
    assert after["snr_shift_scale"] == 3.0 and before.keys() <= after.keys()
    # Without other parts, too.
    run("export", "--checkpoint", tmp_path / "run", "--output", tmp_path / "alone")
    alone = json.loads(contents(tmp_path / "alone")[file])
    assert (alone["snr_shift_scale"], alone["_class_name"]) == (3.0, "CogVideoXDPMScheduler")


def test_a_base_with_other_parts_is_refused(imported):
    meta = {"config": {"init": {"may_differ": []}}}
    made = provenance_for(imported, weight_hash="ab")
    with pytest.raises(
        UserError, match=rf"the dataset of W2 .*{VAE} is 'ab'.* name the import it was trained from as --"
    ):
        pairs.require_base(meta | {"provenance": json.loads(made.to_json())}, Path("W2"), imported)


def test_an_import_without_a_scheduler_trains_and_says_how_it_is_to_be_sampled(config, pipeline, tmp_path, caplog):
    import_pipeline(Source(pipeline / "transformer", "theirs"), tmp_path / "alone")
    config.init.transformer = str(tmp_path / "alone")
    with caplog.at_level(logging.WARNING):
        check(config, tmp_path / "run")
    assert (
        "was imported without scheduler/: whether config.schedule is its schedule could not be checked" in caplog.text
    )
    assert pairs.schedule_of(tmp_path / "alone", read_meta(tmp_path / "alone")) is None

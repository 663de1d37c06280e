"""Trained modules that are packed into a file, laid out again, and taken further."""

import jax
import ml_collections
import numpy as np
import pytest
from safetensors.numpy import load_file

from sr_jax.checkpoints.reading import read_meta
from sr_jax.demo.pretrained.packing import pack, unpack
from sr_jax.errors import UserError
from sr_jax.training.loop import train
from tests.training.helpers import assert_same_bits, load_params

_STANDING_STILL = {"num_train_steps": 1, "optimizer.learning_rate": 0.0}


def test_modules_are_taken_further_from_where_they_were(tiny, stage_one_run, one_device, tmp_path):
    train(tiny("stage_one", **{"init.modules": str(stage_one_run)}, **_STANDING_STILL), tmp_path / "still", one_device)
    after, _ = load_params(tmp_path / "still", item="params")
    before, _ = load_params(stage_one_run)
    assert sorted(after) == ["identity", "structure"]
    assert_same_bits(after, before)
    alone = {"init.modules": str(stage_one_run), "train_modules": ("identity",), "seed": 5}
    train(tiny("stage_one", **alone, **_STANDING_STILL), tmp_path / "alone", one_device)
    assert_same_bits(load_params(tmp_path / "alone", item="params")[0], {"identity": before["identity"]})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"identity.widths": (16,)}, "config.identity.widths is .*16.* was trained with"),
        ({"structure_input": "noisy"}, "config.structure_input is 'noisy', but .* was trained with 'clean'"),
        ({"structure.num_layers": 2}, "config.structure.num_layers is 2, but .* was trained with"),
        ({"init.transformer": "W0"}, "config.init names both modules and a transformer"),
    ],
)
def test_modules_that_do_not_fit_are_told(tiny, stage_one_run, one_device, tmp_path, overrides, message):
    config = tiny("stage_one", **{"init.modules": str(stage_one_run)}, **overrides)
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "new", one_device)
    assert not (tmp_path / "new").exists()


def test_a_run_without_modules_cannot_be_taken_further(tiny, base_run, one_device, tmp_path):
    with pytest.raises(UserError, match="trained no structure module"):
        train(tiny("stage_one", **{"init.modules": str(base_run)}), tmp_path / "new", one_device)


@pytest.fixture(scope="module")
def packed(base_run, stage_one_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    for name, workdir in {"base": base_run, "modules": stage_one_run}.items():
        pack([workdir], folder / f"{name}.safetensors")
        unpack(folder / f"{name}.safetensors", folder / name)
    return folder


def test_a_packed_workdir_is_laid_out_with_the_same_weights(base_run, stage_one_run, packed):
    for name, workdir in {"base": base_run, "modules": stage_one_run}.items():
        (before, _), (after, meta) = load_params(workdir), load_params(packed / name)
        assert_same_bits(after, jax.tree.map(lambda leaf: np.asarray(leaf, np.float16).astype(np.float32), before))
        original = read_meta(workdir)
        for key in ("step", "stage", "provenance", "schedule"):
            assert meta[key] == original[key]
        assert meta["config"]["model"] == original["config"]["model"]
        assert {leaf.dtype for leaf in load_file(packed / f"{name}.safetensors").values()} == {np.dtype(np.float16)}
        # Nothing of the machine that trained it.
        content = (packed / f"{name}.safetensors").read_bytes()
        assert str(base_run.parent).encode() not in content and b"/tmp" not in content


def test_modules_that_were_trained_apart_are_one_workdir(tiny, stage_one_run, packed, one_device, tmp_path):
    further = {"init.modules": str(stage_one_run), **_STANDING_STILL}
    for name in ("structure", "identity"):
        train(tiny("stage_one", **further, train_modules=(name,)), tmp_path / name, one_device)
    pack([tmp_path / "structure", tmp_path / "identity"], tmp_path / "both.safetensors")
    both, expected = load_file(tmp_path / "both.safetensors"), load_file(packed / "modules.safetensors")
    assert_same_bits(both, expected)
    unpack(tmp_path / "both.safetensors", tmp_path / "both")
    assert read_meta(tmp_path / "both")["config"]["train_modules"] == ["structure", "identity"]
    with pytest.raises(UserError, match="trained the same module"):
        pack([tmp_path / "both", tmp_path / "identity"], tmp_path / "thrice.safetensors")


def test_stage_one_and_stage_two_start_from_what_was_laid_out(tiny, packed, one_device, tmp_path):
    config = tiny("stage_one", **{"init.modules": str(packed / "modules"), "num_train_steps": 1})
    train(config, tmp_path / "further", one_device)
    named = {
        "init.transformer": packed / "base",
        "alignment.structure.module": tmp_path / "further",
        "alignment.identity.module": packed / "modules",
    }
    config = tiny("stage_two", **{name: str(path) for name, path in named.items()}, num_train_steps=1)
    assert isinstance(config, ml_collections.ConfigDict)
    state = train(config, tmp_path / "fine_tuned", one_device)
    assert int(state.step) == 1
    # The same command again goes on, and finds that nothing is left to do.
    assert int(train(config, tmp_path / "fine_tuned", one_device).step) == 1


def test_what_cannot_be_packed_or_laid_out_is_told(packed, tmp_path):
    with pytest.raises(UserError, match="exists"):
        unpack(packed / "base.safetensors", packed / "base")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="holds no packed weights"):
        unpack(tmp_path / "bad.safetensors", tmp_path / "new")
    with pytest.raises(UserError, match="holds no checkpoints"):
        pack([tmp_path], tmp_path / "new.safetensors")

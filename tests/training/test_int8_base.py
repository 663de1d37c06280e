"""A LoRA on a transformer in int8: what it trains, how far from one on the transformer as it is, what comes of it."""

import json

import jax
import numpy as np
import pytest
from flax import traverse_util

from sr_jax.checkpoints.transformers import load_transformer
from sr_jax.errors import UserError
from sr_jax.models.lora import LoraConfig, merge
from sr_jax.parallel.lazy import on_host
from sr_jax.parallel.mesh import make_mesh
from sr_jax.training import builders
from sr_jax.training.loop import train
from sr_jax.training.program import build_program
from sr_jax.training.workdirs import check_config
from tests.models.test_int8 import dequantised
from tests.training.helpers import LORA, assert_same_bits, load_params

INT8 = LORA | {"lora.base_type": "int8"}
CONFIG = LoraConfig(2, 4.0, ("attn1",))


@pytest.fixture(scope="module")
def int8_run(stage_two, one_device, tmp_path_factory):
    """Workdir of a finished SemanticREPA stage two with a LoRA on a transformer in int8."""
    workdir = tmp_path_factory.mktemp("runs") / "int8"
    train(stage_two(**INT8), workdir, one_device)
    return workdir


def losses(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return np.array([line["loss"] for line in lines if "loss" in line])


def test_its_loss_is_within_two_percent(int8_run, lora_run):
    ours, theirs = losses(int8_run), losses(lora_run)
    assert len(ours) == len(theirs) == 2
    np.testing.assert_allclose(ours, theirs, rtol=0.02)


def test_a_checkpoint_holds_the_factors_alone_as_any_lora_does(int8_run, lora_run):
    ours, theirs = load_params(int8_run)[0], load_params(lora_run)[0]
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    # What it was trained beside is not the same.
    assert all(np.any(a != b) for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)))


def test_sampling_and_export_take_the_transformer_as_it_was(int8_run, base_run):
    merged, _ = load_transformer(int8_run)
    factors, base = load_params(int8_run)[0]["lora"], load_params(base_run)[0]["transformer"]
    assert_same_bits(on_host(merged), on_host(merge(base, factors, CONFIG)))


@pytest.mark.parametrize("frozen_dtype", ["float32", "bfloat16"])
def test_what_is_read_is_what_the_program_takes(stage_two, base_run, frozen_dtype):
    """Kernels of the blocks in int8, their scales in float32, and all else as `frozen_dtype` says."""
    config = stage_two(**INT8, frozen_dtype=frozen_dtype)
    stage = builders.build_stage(config)
    frozen = build_program(config, make_mesh({"fsdp": 2, "tensor": 2}, jax.devices()[:4]), stage).frozen
    read = builders.load_frozen(stage)
    assert jax.tree.structure(frozen) == jax.tree.structure(read)
    types = {"kernel_q": "int8", "kernel_scale": "float32"}
    for path, leaf in traverse_util.flatten_dict(frozen["transformer"]).items():
        assert leaf.dtype == types.get(path[-1], frozen_dtype), path
    # The structure module is not adapted, so its kernels stay.
    assert "kernel" in frozen["structure"]["transformer"]["transformer_blocks"]["ff"]["proj_in"]
    integers = on_host(read["transformer"])
    assert_same_bits(integers, on_host(builders.load_frozen(stage)["transformer"]))
    base = traverse_util.flatten_dict(load_params(base_run)[0]["transformer"])
    for path, leaf in traverse_util.flatten_dict(dequantised(integers)).items():
        assert np.abs(leaf - base[path]).max() <= np.abs(base[path]).max() / 254 * (1 + 1e-5)


def test_a_run_stays_what_it_was_started_with(int8_run, lora_run, stage_two):
    with pytest.raises(UserError, match=r"config\.lora\.base_type='int8', now it is 'frozen_dtype'"):
        check_config(stage_two(**LORA), int8_run)
    path = lora_run / "config.json"
    before = path.read_text()
    older = json.loads(before)
    del older["lora"]["base_type"]
    try:
        path.write_text(json.dumps(older))
        check_config(stage_two(**LORA), lora_run)
        with pytest.raises(UserError, match=r"config\.lora\.base_type='frozen_dtype', now it is 'int8'"):
            check_config(stage_two(**INT8), lora_run)
    finally:
        path.write_text(before)


def test_a_base_run_takes_it_too(tiny, base_run):
    stage = builders.build_stage(tiny("base", **INT8, **{"init.transformer": str(base_run)}))
    read = builders.load_frozen(stage)
    assert set(stage.modules) == {"lora"}
    assert read["transformer"]["transformer_blocks"]["ff"]["proj_in"]["kernel_q"].dtype == np.int8

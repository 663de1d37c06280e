"""What a clip costs, against a count of every product in the traced step; and the speed in the log."""

import logging
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from sr_jax.checkpoints.logs import read_metrics
from sr_jax.parallel.chips import TPU_V5E, find_chip
from sr_jax.parallel.mesh import make_mesh
from sr_jax.planning.operations import count_flops
from sr_jax.planning.planner import described_stage_one
from sr_jax.training import builders
from sr_jax.training.loop import train
from sr_jax.training.program import abstract_batch, build_program, record_spec
from sr_jax.training.speed import Speedometer

_LARGER = {
    "num_attention_heads": 4, "attention_head_dim": 32, "num_layers": 6, "sample_frames": 13, "sample_height": 12,
    "sample_width": 16,
}  # fmt: skip


def _larger(tiny, stage, **overrides):
    """A step in which little but the blocks counts, and nothing is computed twice."""
    config = tiny(stage, **overrides)
    config.remat = "none"
    config.model.update(_LARGER)
    config.structure.update(_LARGER)
    return config


@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        ("base", {}),
        ("stage_one", {}),
        ("stage_one", {"structure_text": "empty_prompt", "train_modules": ("structure",)}),
        ("stage_two", {}),
        ("stage_two", {"alignment.structure.weight": 0.0}),
        ("stage_two", {"alignment.structure.weight": 0.0, "alignment.identity.weight": 0.0}),
        ("stage_two", {"lora.rank": 1}),
    ],
)
def test_work_is_what_the_step_computes(tiny, stage, overrides):
    config = _larger(tiny, stage, **overrides)
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    program = build_program(config, mesh, builders.build_stage(config, described_stage_one(config)))
    records = record_spec(config, program.stage, noisy_images=1)
    batch = abstract_batch(records, program.stage, config.batch_size, mesh)
    counted = count_flops(program.train_step.trace(program.state, program.frozen, batch).jaxpr)
    work = program.stage.work(records.latent_shape[:3], records.text_shape[0])
    assert config.batch_size * work.flops == pytest.approx(counted, rel=0.02)


def test_tokens(tiny):
    config = tiny("base")
    # 2 latent frames of 2x2 patches, and 4 tokens of text.
    assert builders.build_stage(config).work((2, 4, 4), 4).tokens == 12
    config.model.patch_size_t = 2
    # 3 frames are padded to 4, of which a patch takes 2.
    assert builders.build_stage(config).work((3, 4, 4), 4).tokens == 12


def _batch(*sizes):
    return {"latent_mean": jnp.zeros((8, *sizes, 4)), "text_embedding": jnp.zeros((8, 4, 12))}


def test_speed_on_a_known_chip(tiny, monkeypatch):
    stage = builders.build_stage(tiny("base"))
    clock = iter([100.0, 104.0])
    monkeypatch.setattr("sr_jax.training.speed.find_chip", lambda kind: TPU_V5E)
    monkeypatch.setattr("sr_jax.training.speed.time", SimpleNamespace(monotonic=lambda: next(clock)))
    speedometer = Speedometer(stage, jax.devices()[:4])
    speedometer.add(_batch(2, 4, 4))
    assert speedometer.read() == {}
    # Clips of two sizes.
    speedometer.add(_batch(2, 4, 4))
    speedometer.add(_batch(2, 4, 8))
    works = [stage.work(size, 4) for size in ((2, 4, 4), (2, 4, 8))]
    assert [work.tokens for work in works] == [12, 20]
    flops = 8 * sum(work.flops for work in works) / 4.0 / 4
    assert speedometer.read() == {
        "steps_per_second": 0.5,
        "clips_per_second": 4.0,
        "tokens_per_second": 8 * (12 + 20) / 4.0,
        "model_tflops_per_second": pytest.approx(flops / 1e12),
        "mfu": pytest.approx(flops / 197e12),
    }


@pytest.mark.parametrize(
    ("kind", "tflops"), [("TPU v5 lite", 197), ("TPU v5", 459), ("TPU v6 lite", 918), ("NVIDIA H200", 989)]
)
def test_chips_by_the_names_that_jax_gives_them(kind, tflops):
    assert find_chip(kind).flops == tflops * 1e12


def test_without_a_known_peak_there_is_no_mfu_and_one_message(tiny, caplog):
    with caplog.at_level(logging.INFO):
        speedometer = Speedometer(builders.build_stage(tiny("base")), jax.devices()[:1])
    assert [record.message for record in caplog.records] == [
        "no MFU in the log: no published peak of a device of the kind 'cpu' is known here"
    ]
    speedometer.read()
    speedometer.add(_batch(2, 4, 4))
    assert "mfu" not in speedometer.read()


def test_the_log_of_a_run_and_its_profile(tiny, one_device, tmp_path):
    config = tiny("base", num_train_steps=3, log_every=1)
    config.profile = {"first_step": 2, "num_steps": 1}
    train(config, tmp_path / "run", one_device)
    first, *others = read_metrics(tmp_path / "run")
    # The first line has no speed, because its steps hold the compilation.
    assert "clips_per_second" not in first
    for line in others:
        assert line["clips_per_second"] == pytest.approx(4 * line["steps_per_second"])
        assert line["tokens_per_second"] == pytest.approx(12 * line["clips_per_second"])
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))

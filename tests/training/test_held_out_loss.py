"""The held-out loss: one value, whatever the mesh, the batch size and the step it is measured at."""

import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.configs import base, stage_one, stage_two
from sr_jax.configs.sizes import size_names
from sr_jax.data.held_out import held_out_clips
from sr_jax.errors import UserError
from sr_jax.planning.operations import count_flops
from sr_jax.training.held_out_loss import _SEED, make_held_out_loss
from sr_jax.training.state import Progress
from tests.data.synthetic import write_synthetic_dataset
from tests.training.run_parts import STEP, make_parts

_ONE_OBJECTIVE = {"alignment.identity.weight": 0.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Five held-out clips."""
    folder = tmp_path_factory.mktemp("held_out")
    return write_synthetic_dataset(folder, clips=6, test_clips=5, latent_channels=4)


@pytest.fixture(scope="module")
def run(tiny, data):
    """A function that makes the parts of a run on a mesh, and its state."""

    def make(stage, sizes=None, **overrides):
        overrides |= {"model.num_layers": 1}
        dropouts = {} if stage == "stage_one" else {"text_dropout": 0.5, "image_dropout": 0.5}
        config = tiny(stage, **{"data.dir": str(data)} | dropouts | overrides)
        return make_parts(config, tiny("stage_one"), sizes)

    return make


def _mean_clip_by_clip(parts, params, data, clips=5):
    """The definition: of every clip by itself the stage's own draw and loss, averaged in NumPy."""
    stage, values = parts.program.stage, {}

    @jax.jit
    def loss(batch, number):
        key = jax.random.fold_in(jax.random.key(_SEED), number)
        drawn = stage.draw(parts.frozen, batch, key, Progress(jnp.int32(STEP), stage.running))
        return stage.loss(params, parts.frozen, drawn)[1]

    [group] = held_out_clips(data, "test", clips, tuple(stage.fields))
    for number in range(clips):
        [clip_id], arrays = group.read([number])
        batch = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
        for name, metric in loss(batch, np.uint32(zlib.crc32(clip_id.encode()))).items():
            if metric.count:
                values.setdefault(name, []).append(float(metric.total / metric.count))
    return {name: np.mean(found) for name, found in values.items()}


def _assert_same(found, expected):
    expected = {f"heldout/{name}": value for name, value in expected.items()}
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[name] for name in expected], list(expected.values()), rtol=1e-5)


@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        ("stage_two", {}),
        ("stage_one", {"structure_input": "noisy"}),
    ],
)
def test_it_is_the_mean_of_each_clip_by_itself(run, data, stage, overrides):
    parts, state = run(stage, **overrides)
    found = make_held_out_loss(parts)(STEP, state)
    _assert_same(found, _mean_clip_by_clip(parts, state.ema_params, data))
    assert found["heldout/loss"] > 0


@pytest.fixture(scope="module")
def on_one_device(run):
    parts, state = run("stage_two", batch_size=8, **_ONE_OBJECTIVE)
    return make_held_out_loss(parts)(STEP, state)


@pytest.mark.parametrize(
    ("mesh", "batch_size"),
    [({"data": 1}, 3), ({"data": 2}, 2), ({"fsdp": 2, "tensor": 2, "context": 2}, 4), ({"data": 8}, 8)],
)
def test_it_is_the_same_on_every_mesh_and_with_every_batch_size(run, on_one_device, mesh, batch_size):
    parts, state = run("stage_two", mesh, batch_size=batch_size, **_ONE_OBJECTIVE)
    found = make_held_out_loss(parts)(STEP, state)
    assert found.keys() == on_one_device.keys()
    np.testing.assert_allclose([found[name] for name in on_one_device], list(on_one_device.values()), rtol=1e-5)


def test_the_first_clips_are_measured_with_either_weights(run, data):
    parts, state = run("stage_one", **{"heldout.clips": 2, "heldout.weights": "both"})
    state = state.replace(params=jax.tree.map(lambda x: 1.1 * x, state.params))
    hook = make_held_out_loss(parts)
    assert hook.directions == {
        f"{prefix}/{name}": -1
        for prefix in ("heldout", "heldout_raw")
        for name in ("loss", "loss/structure", "loss/identity")
    }
    found = hook(STEP, state)
    expected = _mean_clip_by_clip(parts, state.ema_params, data, clips=2)
    assert found.keys() > {"heldout/loss", "heldout_raw/loss"}
    assert found["heldout/loss"] == pytest.approx(expected["loss"], rel=1e-5)
    expected = _mean_clip_by_clip(parts, state.params, data, clips=2)
    assert found["heldout_raw/loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_clips_are_taken_of_every_size_in_turn(tmp_path):
    for name, width, clips in (("16x16", 16, 5), ("16x24", 24, 2)):
        write_synthetic_dataset(tmp_path / name, clips=1, test_clips=clips, width=width)
    for count, expected in ((1, [1]), (3, [2, 1]), (6, [4, 2]), (99, [5, 2])):
        assert [group.count for group in held_out_clips(tmp_path, "test", count, ["latent_mean"])] == expected
    group = held_out_clips(tmp_path, "test", 3, ["latent_mean"])[1]
    ids, arrays = group.read([0, 0])
    assert len(set(ids)) == 1 and arrays["latent_mean"].shape == (2, 2, 4, 6, 16)


def test_without_the_split_nothing_is_measured_and_one_line_says_so(tiny, dataset, run, caplog):
    parts, _ = run("stage_one")
    parts = dataclasses.replace(parts, config=tiny("stage_one"))
    assert make_held_out_loss(parts) is None
    assert "has no split 'test', which config.heldout.split names" in caplog.text
    parts.config.heldout.every_steps = 0
    caplog.clear()
    assert make_held_out_loss(parts) is None and caplog.text == ""


def test_records_that_do_not_fit_are_named(run, tmp_path):
    parts, _ = run("stage_one")
    write_synthetic_dataset(tmp_path, clips=1, test_clips=1, latent_channels=3)
    config = parts.config.copy_and_resolve_references()
    config.data.dir = str(tmp_path)
    with pytest.raises(UserError, match=r"the records in .* do not fit: latents \(1, 2, 4, 4, 3\) .* 4 channels"):
        make_held_out_loss(dataclasses.replace(parts, config=config))


def _measured(config, last_step):
    section = config.heldout
    return section.clips * len({*range(0, last_step, section.every_steps), last_step})


# `smoke` is over in seconds, and there to do everything once.
@pytest.mark.parametrize("size", [size for size in size_names() if size != "smoke"])
@pytest.mark.parametrize("stage", [base, stage_one, stage_two], ids=lambda module: module.__name__.split(".")[-1])
def test_it_costs_two_percent_of_a_run_at_most(stage, size):
    config = stage.get_config(size)
    # A forward pass is half of a training step's work at most (the next test): a third of it, where all is trained.
    trained = config.num_train_steps * config.batch_size
    assert 0 < _measured(config, config.num_train_steps) / 2 <= 0.02 * trained


@pytest.mark.parametrize("stage", ["stage_one", "stage_two"])
def test_a_clip_that_is_measured_costs_half_of_one_that_is_trained_on(run, stage):
    parts, state = run(stage, remat="none")
    hook = make_held_out_loss(parts)
    (rows, batch), *_ = hook._batches
    arguments = (state.ema_params, parts.frozen, Progress(state.step, state.running), batch)
    flops = count_flops(hook._loss.trace(*arguments).jaxpr) / rows
    trained = parts.program.stage.work(
        batch["latent_mean"].shape[1:4], batch.get("text_embedding", batch["latent_mean"]).shape[1]
    )
    assert 0 < flops <= trained.flops / 2


def test_factors_are_measured_beside_what_they_adapt(run):
    parts, _ = run("stage_two", **{"lora.rank": 2}, **_ONE_OBJECTIVE)
    # Made, it is traced.
    hook = make_held_out_loss(parts)
    assert hook.directions.keys() == {"heldout/loss", "heldout/loss/denoising", "heldout/loss/structure"}

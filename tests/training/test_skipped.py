"""Steps whose loss or gradient is not finite: they change nothing, are counted and named, and end a run when many."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sr_jax.checkpoints.logs import SKIPPED_FILE, read_lines, read_metrics
from sr_jax.checkpoints.reading import open_params, read_meta
from sr_jax.data.pipeline import train_batches
from sr_jax.errors import DivergedError
from sr_jax.training import steps as step_loop
from sr_jax.training.loop import train
from sr_jax.training.results import StepResults
from sr_jax.training.state import SKIPPED, TrainState, average, make_train_step, merge_metrics
from tests.data.synthetic import write_synthetic_dataset
from tests.training.helpers import assert_same_bits, load_params


class _Power:
    """A loss whose value and gradient the batch makes finite or not: `mean(x * |w| ** p)`."""

    def draw(self, frozen, batch, key, progress):
        return batch

    def advance(self, running, metrics):
        return running

    def loss(self, params, frozen, drawn):
        values = drawn["x"] * jnp.abs(params["w"]) ** drawn["p"]
        return values.mean(), {"loss": average(values)}


def _batch(x, power=2.0):
    return {"x": jnp.asarray(x, jnp.float32), "p": jnp.full(len(x), power)}


def _state(dtype, optimizer):
    return TrainState.create({"w": jnp.asarray(3.0, dtype)}, optimizer)


@pytest.mark.parametrize(("dtype", "accumulate_steps"), [(jnp.float32, 1), (jnp.float32, 2), (jnp.bfloat16, 1)])
@pytest.mark.parametrize(
    ("x", "power"),
    [
        ([1.0, np.nan], 2.0),
        ([np.inf, 1.0], 2.0),
        # The loss is finite, the root's gradient at 0 is not.
        ([1.0, 1.0], 0.5),
        # The gradient is finite and its norm is not.
        ([3e38, 3e38], 0.01),
    ],
)
def test_a_bad_step_counts_and_changes_nothing(x, power, dtype, accumulate_steps):
    optimizer = optax.adam(0.1)
    step = jax.jit(make_train_step(_Power(), optimizer, ema_decay=0.9, seed=0, accumulate_steps=accumulate_steps))
    before, metrics = step(_state(dtype, optimizer), {}, _batch([1.0, 2.0]))
    assert metrics[SKIPPED].total == 0 and metrics["loss"].count == 2
    if power != 2.0:
        start = {"w": jnp.zeros((), dtype)} if power == 0.5 else {"w": jnp.asarray(1e-3, dtype)}
        before = before.replace(params=start)
    after, skipped = step(before, {}, _batch(x, power))
    assert int(after.step) == int(before.step) + 1
    assert_same_bits(after.replace(step=before.step), before)
    # It counts in no average, and in the number of steps that were skipped.
    merged = merge_metrics(metrics, skipped)
    assert merged["loss"].compute() == metrics["loss"].compute()
    assert merged["grad_norm"].compute() == metrics["grad_norm"].compute()
    assert (merged[SKIPPED].total, merged[SKIPPED].count) == (1, 2)


class _Result:
    """What a step will say once it is done; notes when it is waited for."""

    def __init__(self, skipped, waited):
        self._skipped, self._waited = skipped, waited

    def __array__(self, dtype=None, copy=None):
        self._waited.append(self)
        return np.asarray(self._skipped, dtype)


def test_no_more_than_two_steps_are_under_way():
    waited, began = [], []
    results = StepResults(most_skipped=0, on_skipped=began.append)
    for step in range(1, 6):
        began.append(_Result(0, waited))
        # Begun and not waited for, with the one that begins now.
        assert len(began) - len(waited) <= 2
        results.add(step, began[-1])
    assert waited == began[:-1]
    assert results.last_is_good() and waited == began


def test_too_many_bad_steps_in_a_row_end_a_run():
    skipped = []
    results = StepResults(most_skipped=2, on_skipped=skipped.append)
    for step, value in enumerate([1, 1, 0, 1, 1, 0, 1], start=1):
        results.add(step, np.float32(value))
    assert not results.last_is_good() and skipped == [1, 2, 4, 5, 7]
    results.add(8, np.float32(1))
    results.add(9, np.float32(1))
    with pytest.raises(DivergedError, match=r"not finite in 3 steps in a row, up to step 9"):
        results.last_is_good()


@pytest.fixture(scope="module")
def one_bad_clip(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("bad"), clips=16, infinite=[5], latent_channels=4)


def _bad_steps(data, steps):
    """By the numbers in the records, which the clips' names have too: the steps that see clip 5, and their clips."""
    batches = train_batches(data, fields=("latent_mean",), batch_size=4, seed=0)
    numbers = [next(batches)["latent_mean"][:, 0, 0, 0, 0].astype(int).tolist() for _ in range(steps)]
    return {step: [f"clip{n:03d}" for n in seen] for step, seen in enumerate(numbers, start=1) if 5 in seen}


def test_a_clip_that_is_not_finite_costs_its_steps_and_is_named(tiny, one_bad_clip, one_device, tmp_path):
    expected = _bad_steps(one_bad_clip, 8)
    assert 1 <= len(expected) <= 3
    config = tiny("base", **{"data.dir": str(one_bad_clip), "num_train_steps": 8, "log_every": 1})
    state = train(config, tmp_path / "run", one_device)
    assert int(state.step) == 8
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.tree.map(np.asarray, state.params)))
    lines = read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines if line.get("skipped_steps") == 1 and "loss" not in line] == list(expected)
    assert all(np.isfinite(line["loss"]) for line in lines if line["step"] not in expected)
    named = {line["step"]: line["clips"] for line in read_lines(tmp_path / "run" / SKIPPED_FILE)}
    assert named == expected
    # Stopped behind a bad step and resumed, it ends with the same bits, and names each step once.
    config.num_train_steps = max(expected)
    train(config, tmp_path / "parts", one_device)
    config.num_train_steps = 8
    train(config, tmp_path / "parts", one_device)
    assert_same_bits(load_params(tmp_path / "parts")[0], load_params(tmp_path / "run")[0])
    assert read_lines(tmp_path / "parts" / SKIPPED_FILE) == read_lines(tmp_path / "run" / SKIPPED_FILE)


def test_batches_are_named_as_they_come(one_bad_clip):
    batches = train_batches(one_bad_clip, fields=("latent_mean",), batch_size=4, seed=3)
    for number in range(6):
        seen = next(batches)["latent_mean"][:, 0, 0, 0, 0].astype(int)
        assert batches.clip_ids(number + 1) == [f"clip{n:03d}" for n in seen]


def test_what_has_diverged_ends_and_is_not_saved(tiny, one_device, tmp_path, monkeypatch):
    real, steps = step_loop.to_global, itertools.count(1)

    def to_global(batch, *args):
        scale = np.nan if next(steps) > 3 else 1.0
        return real({name: array * np.float16(scale) for name, array in batch.items()}, *args)

    monkeypatch.setattr(step_loop, "to_global", to_global)
    config = tiny("base", num_train_steps=20, checkpoint_every=1, max_skipped_steps=2, keep_checkpoints=2)
    message = r"3 steps in a row, up to step 6: it can go on from the checkpoint of step 3 of .*run"
    with pytest.raises(DivergedError, match=message):
        train(config, tmp_path / "run", one_device)
    # None of the steps that were skipped took the place of a good one.
    assert read_meta(tmp_path / "run")["step"] == 3
    assert open_params(tmp_path / "run", step=2)[1]["step"] == 2

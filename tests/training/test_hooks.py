"""What runs in the pauses of training: when, where it is logged, after a restart, and which checkpoint it keeps."""

import jax
import numpy as np
import pytest

from sr_jax.checkpoints.logs import read_metrics
from sr_jax.checkpoints.reading import all_steps, read_meta
from sr_jax.errors import PreemptedError, UserError
from sr_jax.parallel.processes import StopRequests
from sr_jax.training.loop import train
from sr_jax.training.speed import Speedometer
from sr_jax.training.watchdog import Watchdog
from tests.toys.hook import make as make_toy
from tests.training.helpers import assert_same_bits, load_params


class _Scores:
    """Gives the value of a list for each step, and keeps which steps it was called for."""

    name = "fake"

    def __init__(self, every_steps, values=(), direction=-1):
        self.every_steps, self.values, self.steps = every_steps, values, []
        self.directions = {"fake/loss": direction}

    def __call__(self, step, state):
        assert int(state.step) == step
        self.steps.append(step)
        return {"fake/loss": float(self.values[step] if self.values else step)}


def _train(tiny, workdir, hook, steps=4, more=(), **overrides):
    config = tiny("base", num_train_steps=steps, **overrides)
    return train(config, workdir, jax.devices()[:1], [lambda run: hook, lambda run: None, *more])


def _logged(workdir):
    return [(line["step"], line["fake/loss"]) for line in read_metrics(workdir) if "fake/loss" in line]


def test_a_hook_runs_before_the_first_step_every_so_many_and_after_the_last(tiny, base_run, tmp_path):
    hook = _Scores(3)
    # Beside the one of docs/extending.md, which is a metric of its own.
    _train(tiny, tmp_path / "run", hook, steps=4, more=[make_toy], keep_best="average/distance")
    assert hook.steps == [0, 3, 4]
    assert _logged(tmp_path / "run") == [(0, 0.0), (3, 3.0), (4, 4.0)]
    assert all(line["fake/seconds"] >= 0 for line in read_metrics(tmp_path / "run") if "fake/loss" in line)
    # It changes nothing of the run.
    assert_same_bits(load_params(tmp_path / "run")[0], load_params(base_run)[0])
    measured = [line for line in read_metrics(tmp_path / "run") if "average/distance" in line]
    assert [line["step"] for line in measured] == [0, 4]
    assert measured[0]["average/distance"] == 0 < measured[1]["average/distance"]
    last = {"fake": {"fake/loss": 4.0}, "average": {"average/distance": measured[1]["average/distance"]}}
    assert read_meta(tmp_path / "run")["hooks"] == last


def test_a_run_that_goes_on_repeats_no_hook_and_misses_none(tiny, tmp_path, monkeypatch):
    whole, first, second = _Scores(2), _Scores(2), _Scores(2)
    workdir = tmp_path / "run"
    # Told to stop after step 2, at which the hook is due: there is no time for it.
    with monkeypatch.context() as stopped, pytest.raises(PreemptedError):
        stopped.setattr(StopRequests, "reached", lambda self, step: step == 2)
        _train(tiny, workdir, first)
    assert first.steps == [0] and read_meta(workdir)["hooks"] == {}
    _train(tiny, workdir, second)
    assert second.steps == [2, 4]
    assert _logged(workdir) == [(0, 0.0), (2, 2.0), (4, 4.0)]
    # Finished: nothing is done again. Longer: nothing of the step that it goes on from.
    _train(tiny, workdir, whole)
    assert whole.steps == []
    _train(tiny, workdir, whole, steps=5)
    assert whole.steps == [5]


def test_a_run_that_starts_anew_logs_its_start_once(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(Speedometer, "add", _interrupt)
        _train(tiny, tmp_path / "run", _Scores(2))
    assert _logged(tmp_path / "run") == [(0, 0.0)]
    _train(tiny, tmp_path / "run", _Scores(9), steps=1)
    assert _logged(tmp_path / "run") == [(0, 0.0), (1, 1.0)]


def _interrupt(*_):
    raise KeyboardInterrupt


def test_a_pause_has_its_own_time_and_so_has_the_step_behind_it(tiny, tmp_path, monkeypatch):
    expected = []
    monkeypatch.setattr(Watchdog, "expect_slow", lambda self, what: expected.append(what))
    monkeypatch.setattr(Watchdog, "expect_step", lambda self, step: expected.append(step))
    _train(tiny, tmp_path / "run", _Scores(2), steps=3, checkpoint_every=2)
    assert expected == [
        "the start", "fake after step 0", "compiling step 1", 2, "saving step 1", 2, "fake after step 2", 3,
        "saving step 2", 3, "fake after step 3", "saving step 3",
    ]  # fmt: skip


@pytest.mark.parametrize(("direction", "best"), [(-1, 2), (1, 3)])
def test_the_best_checkpoint_is_saved_and_kept(tiny, tmp_path, direction, best):
    values, workdir = [np.nan, 5.0, 3.0, 7.0, 4.0, 5.0, np.nan, 6.0], tmp_path / "run"
    options = {"keep_best": "fake/loss", "keep_checkpoints": 1, "checkpoint_every": 100}
    _train(tiny, workdir, _Scores(1, values, direction), steps=5, **options)
    assert all_steps(workdir) == [best, 5]
    # Nor does a run that goes on forget it.
    _train(tiny, workdir, _Scores(1, values, direction), steps=7, **options)
    assert all_steps(workdir) == [best, 7]
    assert read_meta(workdir, step=best)["hooks"] == {"fake": {"fake/loss": values[best]}}


def test_a_metric_that_nobody_measures_is_refused(tiny, tmp_path):
    with pytest.raises(UserError, match=r"^config\.keep_best is 'loss': choose one of fake/loss, or leave it empty$"):
        _train(tiny, tmp_path / "run", _Scores(1), keep_best="loss")
    with pytest.raises(
        UserError, match=r"^config\.keep_best is 'loss': nothing is measured \(see config\.heldout\), or"
    ):
        _train(tiny, tmp_path / "run", None, keep_best="loss")
    assert not (tmp_path / "run").exists()

"""Which checkpoints are saved and kept, saves that fail, and checkpoints that are damaged."""

import logging
import resource
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.checkpoints.reading import open_params, read_meta, read_run_meta
from sr_jax.errors import DivergedError, UserError
from sr_jax.parallel.lazy import on_host
from sr_jax.training import checkpoints
from sr_jax.training.checkpoints import Checkpoints
from sr_jax.training.restoring import restore
from sr_jax.training.state import TrainState
from tests.training.helpers import assert_same_bits

_META = {"config": {}, "stage": "base"}


def _state(step, size=8):
    values = np.random.default_rng(step).normal(size=(2, size)).astype(np.float32)
    trees = [{"net": {"kernel": jnp.asarray(values + i)}} for i in range(3)]
    return TrainState(jnp.int32(step), trees[0], trees[1], trees[2])


def _abstract(size=8):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), _state(0, size))


def _open(workdir, **policy):
    return Checkpoints(workdir, **{"every_steps": 10, "every_minutes": 0.0, "keep": 2, "keep_every": 0} | policy)


def _save(saved, *steps, size=8):
    for step in steps:
        saved.save(step, _state(step, size), _META)
        saved.wait()


def _steps(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())


def _due(saved, steps, *, meeting=True):
    """The steps at which a checkpoint is due; each is saved."""
    due = []
    for step in steps:
        if saved.is_due(step, meeting=meeting):
            due.append(step)
            _save(saved, step)
    return due


def test_one_is_due_after_the_first_step_and_then_by_steps(tmp_path):
    saved = _open(tmp_path, keep=9)
    assert _due(saved, range(1, 36)) == [1, 10, 20, 30]
    saved.close()
    # Resumed, there is one.
    saved = _open(tmp_path, keep=9)
    assert _due(saved, range(31, 51)) == [40, 50]
    saved.close()


def test_one_that_was_due_and_not_saved_stays_due(tmp_path):
    saved = _open(tmp_path)
    _save(saved, 5)
    assert [step for step in range(6, 14) if saved.is_due(step, meeting=True)] == [10, 11, 12, 13]
    _save(saved, 13)
    assert not saved.is_due(14, meeting=True)
    saved.close()


def test_one_is_due_by_the_clock_when_all_processes_look_at_it(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    saved = _open(tmp_path, every_steps=1000, every_minutes=2.0)
    _save(saved, 1)
    now[0] = 119.0
    assert not saved.is_due(2, meeting=True)
    now[0] = 121.0
    assert not saved.is_due(3, meeting=False)
    assert saved.is_due(4, meeting=True)
    _save(saved, 4)
    assert not saved.is_due(5, meeting=True)
    saved.close()


@pytest.mark.parametrize(("policy", "kept"), [({"keep": 2}, [60, 70]), ({"keep": 1, "keep_every": 30}, [30, 60, 70])])
def test_the_newest_and_every_so_many_are_kept(tmp_path, policy, kept):
    saved = _open(tmp_path, **policy)
    _save(saved, *range(10, 80, 10))
    saved.close()
    assert _steps(tmp_path) == kept
    # Nothing of the others is left.
    assert list((tmp_path / "checkpoints" / "removed").iterdir()) == []


def test_what_a_kill_left_is_removed(tmp_path):
    saved = _open(tmp_path)
    _save(saved, 10)
    saved.close()
    folder = tmp_path / "checkpoints"
    half, removed = folder / "20.orbax-checkpoint-tmp", folder / "removed" / "5"
    for left in (half, removed):
        shutil.copytree(folder / "10", left)
    saved = _open(tmp_path)
    _save(saved, 20)
    saved.close()
    assert _steps(tmp_path) == [10, 20]
    assert not half.exists() and not removed.exists()


class _LimitedFiles:
    """No file may be larger, as on a disk that is full; a context."""

    def __init__(self, num_bytes):
        self._num_bytes = num_bytes

    def __enter__(self):
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._num_bytes, self._before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


_LARGE = 100_000


def test_a_save_that_fails_is_told_and_tried_again(tmp_path, caplog):
    saved = _open(tmp_path)
    _save(saved, 10, size=_LARGE)
    with _LimitedFiles(50_000), caplog.at_level(logging.WARNING):
        assert saved.is_due(20, meeting=True)
        _save(saved, 20, size=_LARGE)
    [record] = [record for record in caplog.records if record.name == "root"]
    assert "the checkpoint of step 20 could not be saved" in record.message
    assert "training goes on, and tries again from step 21" in record.message
    assert saved.newest() == 10 and _steps(tmp_path) == [10]
    assert saved.is_due(21, meeting=True)
    _save(saved, 21, size=_LARGE)
    saved.close()
    # The one before is as it was, and nothing of what failed takes up the disk.
    assert _steps(tmp_path) == [10, 21] and not list((tmp_path / "checkpoints").glob("20*"))
    assert_same_bits(restore(tmp_path, _abstract(_LARGE)), _state(21, _LARGE))


def test_the_last_save_waits_for_room_and_says_when_there_is_none(tmp_path, monkeypatch):
    limited, naps, sleep = _LimitedFiles(50_000), [], time.sleep
    # Long enough for what is left of a failed save to end.
    monkeypatch.setattr(checkpoints.time, "sleep", lambda seconds: naps.append(seconds) or sleep(0.5))
    saved = _open(tmp_path)
    with limited:
        assert not saved.save_last(7, _state(7, _LARGE), _META)
    assert len(naps) == 2 and saved.newest() is None
    with limited:
        monkeypatch.setattr(checkpoints.time, "sleep", lambda seconds: limited.__exit__() or sleep(0.5))
        assert saved.save_last(7, _state(7, _LARGE), _META)
    # It is there: not saved again.
    before = (tmp_path / "checkpoints" / "7").stat().st_mtime_ns
    assert saved.save_last(7, _state(7, _LARGE), _META)
    assert (tmp_path / "checkpoints" / "7").stat().st_mtime_ns == before
    saved.close()
    assert _steps(tmp_path) == [7]


@pytest.mark.parametrize("item", ["params", "opt_state", "ema_params"])
def test_what_is_not_finite_is_not_saved(tmp_path, item):
    saved = _open(tmp_path)
    _save(saved, 10)
    bad = _state(20).replace(**{item: {"net": {"kernel": jnp.full((2, 8), jnp.inf)}}})
    with pytest.raises(DivergedError, match="not all numbers in its state are finite after step 20"):
        saved.save(20, bad, _META)
    saved.close()
    assert _steps(tmp_path) == [10]


def _cut_short(folder):
    for path in (folder / "params").rglob("d/*"):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)


_DAMAGE = {
    "cut_short": _cut_short,
    "no_opt_state": lambda folder: shutil.rmtree(folder / "opt_state"),
    "no_meta": lambda folder: shutil.rmtree(folder / "meta"),
    "empty_meta": lambda folder: (folder / "meta" / "metadata").write_text(""),
    "empty": lambda folder: [shutil.rmtree(item) for item in folder.iterdir() if item.is_dir()],
    "no_arrays": lambda folder: [shutil.rmtree(path) for path in list((folder / "ema_params").rglob("d"))],
}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A workdir with three checkpoints."""
    workdir = tmp_path_factory.mktemp("three")
    saved = _open(workdir, keep=3)
    _save(saved, 10, 20, 30)
    saved.close()
    return workdir


@pytest.mark.parametrize("damage", _DAMAGE)
def test_a_damaged_newest_one_falls_back_to_the_one_before(three, tmp_path, caplog, damage):
    workdir = Path(shutil.copytree(three, tmp_path / "run"))
    _DAMAGE[damage](workdir / "checkpoints" / "30")
    assert read_run_meta(workdir)["step"] in (20, 30)
    with caplog.at_level(logging.WARNING):
        state = restore(workdir, _abstract())
    assert_same_bits(state, _state(20))
    [record] = [record for record in caplog.records if record.name == "root"]
    assert "the checkpoint of step 30 is damaged" in record.message and "goes on from step 20" in record.message
    # Out of the way, so that step 30 can be saved again, and not lost.
    assert _steps(workdir) == [10, 20]
    assert [path.name for path in (workdir / "damaged_checkpoints").iterdir()] == ["30"]


def test_all_damaged_is_an_error_and_changes_nothing(three, tmp_path):
    workdir = Path(shutil.copytree(three, tmp_path / "run"))
    for step in (10, 20, 30):
        _DAMAGE["no_opt_state"](workdir / "checkpoints" / str(step))
    with pytest.raises(UserError, match=r"no checkpoint in .*run can be read \(step 30: .*; step 20: .*; step 10: "):
        restore(workdir, _abstract())
    assert _steps(workdir) == [10, 20, 30] and not (workdir / "damaged_checkpoints").exists()


def test_a_workdir_without_any_starts_anew(tmp_path):
    assert restore(tmp_path, _abstract()) is None
    _open(tmp_path).close()
    assert restore(tmp_path, _abstract()) is None


def test_an_earlier_one_is_read_by_its_step(three, tmp_path):
    params, meta = open_params(three, step=20)
    assert meta["step"] == 20
    np.testing.assert_array_equal(on_host(params)["net"]["kernel"], _state(20).ema_params["net"]["kernel"])
    workdir = Path(shutil.copytree(three, tmp_path / "run"))
    _DAMAGE["empty_meta"](workdir / "checkpoints" / "30")
    with pytest.raises(UserError, match=r"step 30 of .*run is damaged .*another one with --step; there are: 10, 20"):
        read_meta(workdir)

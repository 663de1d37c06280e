import json
import os
import threading
import time

import pytest

from sr_jax.ablation.rows import Row
from sr_jax.ablation.scheduling import LOG_FILE, Places, run_tasks
from sr_jax.ablation.suite import in_order
from sr_jax.ablation.work import Task
from sr_jax.errors import UserError


class Runner:
    """Writes what the commands would, and remembers who ran when and where."""

    def __init__(self, fails=()):
        self.ran, self.devices, self.cores, self.fails, self.most = [], [], [], set(fails), 0
        self._lock, self._now = threading.Lock(), 0

    def __call__(self, command, log, environment):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.ran.append((log.parent.parent.name, log.parent.name, command[0]))
            self.devices.append(environment.get("CUDA_VISIBLE_DEVICES"))
            self.cores.append(os.sched_getaffinity(0))
        time.sleep(0.01)
        if command[0] == "evaluate":
            (log.parent / "samples").mkdir()
            (log.parent / "samples" / "metrics.json").write_text("{}")
        if command[0] == "train":
            (log.parent / "workdir" / "checkpoints").mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._now -= 1
        if self.ran[-1] in self.fails:
            log.write_text("first\nthe disk is full\n\n")
            return 2
        return 0


def _tasks(tmp_path, rows=("control", "both"), seeds=(0, 1)):
    commands = (("train", "--a=1"), ("sample",), ("evaluate",))
    return [
        Task(Row(row, row, {}), seed, tmp_path / row / f"seed{seed}", 5, commands) for row in rows for seed in seeds
    ]


def _places(tmp_path, devices=(), at_once=1):
    return Places(devices, at_once, tmp_path / "cache")


def _keep(task):
    return task.seed == 0


def test_what_is_done_is_not_done_again_and_what_is_not_kept_is_gone(tmp_path):
    tasks, runner = _tasks(tmp_path), Runner()
    run_tasks(tasks, _places(tmp_path), keep=_keep, runner=runner)
    expected = [(t.row.name, f"seed{t.seed}", c[0]) for t in tasks for c in t.commands]
    assert runner.ran == expected
    assert [(task.workdir / "checkpoints").exists() for task in tasks] == [True, False, True, False]
    again = Runner()
    (tmp_path / "both" / "seed1" / "samples" / "metrics.json").unlink()
    (tmp_path / "both" / "seed1" / "samples").rmdir()
    run_tasks(tasks, _places(tmp_path), keep=_keep, runner=again)
    # Each command goes on by itself where it was.
    assert again.ran == expected[-3:]


def test_as_many_run_at_a_time_as_there_are_places_each_on_its_device(tmp_path):
    runner = Runner()
    run_tasks(_tasks(tmp_path, seeds=range(6)), _places(tmp_path, (3, 5), 2), keep=_keep, runner=runner)
    assert runner.most == 4 and set(runner.devices) == {"3", "5"} and len(runner.ran) == 36
    environments = [environment for environment, _ in _places(tmp_path, (3, 5), 2).shares()]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in environments] == ["3", "3", "5", "5"]
    assert {place["XLA_PYTHON_CLIENT_MEM_FRACTION"] for place in environments} == {"0.470"}
    [(alone, cores)] = _places(tmp_path).shares()
    assert "CUDA_VISIBLE_DEVICES" not in alone and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in alone
    assert cores == os.sched_getaffinity(0)


@pytest.mark.parametrize(("at_once", "shares"), [(1, [{0, 2, 5}]), (2, [{0, 5}, {2}]), (4, [{0}, {2}, {5}, {0, 2, 5}])])
def test_each_has_a_share_of_the_cores_or_all_where_there_are_too_few(tmp_path, monkeypatch, at_once, shares):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5, 0, 2})
    assert [cores for _, cores in _places(tmp_path, at_once=at_once).shares()] == shares


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core has no shares")
def test_commands_run_on_their_share_of_the_cores_alone(tmp_path):
    before, runner = os.sched_getaffinity(0), Runner()
    run_tasks(_tasks(tmp_path), _places(tmp_path, at_once=2), keep=_keep, runner=runner)
    first, second = (cores for _, cores in _places(tmp_path, at_once=2).shares())
    assert not first & second and first | second == before
    assert all(cores in (first, second) for cores in runner.cores)
    assert os.sched_getaffinity(0) == before


def test_a_failure_is_one_line_and_ends_the_suite(tmp_path):
    runner = Runner(fails=[("control", "seed1", "sample")])
    tasks = _tasks(tmp_path)
    with pytest.raises(
        UserError, match=r"sample of the row control, seed 1, ended with exit code 2 \(the disk is full\)"
    ):
        run_tasks(tasks, _places(tmp_path), keep=_keep, runner=runner)
    assert ("both", "seed0", "train") not in runner.ran
    assert (tasks[1].folder / LOG_FILE).is_file()


def test_a_folder_of_another_task_is_refused(tmp_path):
    [task, *_] = tasks = _tasks(tmp_path)
    run_tasks(tasks, _places(tmp_path), keep=_keep, runner=Runner())
    assert json.loads((task.folder / "commands.json").read_text())["commands"][0] == ["train", "--a=1"]
    other = Task(task.row, task.seed, task.folder, 5, (("train", "--a=2"),))
    with pytest.raises(UserError, match="was made by other commands"):
        run_tasks([other], _places(tmp_path), keep=_keep, runner=Runner())


def test_seeds_are_whole_before_the_next_and_the_control_comes_first(tmp_path):
    tasks = _tasks(tmp_path, ("base", "both", "control"), (7, 3))
    tasks.append(Task(Row("tried", "", {}, group="sweep"), 7, tmp_path, 5, ()))
    names = [(task.seed, task.row.name) for task in in_order(tasks)]
    assert names == [(7, "control"), (7, "base"), (7, "both"), (7, "tried"), (3, "control"), (3, "base"), (3, "both")]

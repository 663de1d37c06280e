"""Runs the tasks of a suite: several at a time, on several devices, and not again what is done."""

import dataclasses
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

import tqdm

from sr_jax.ablation.work import COMMANDS_FILE, Task
from sr_jax.checkpoints.reading import FOLDER
from sr_jax.errors import UserError
from sr_jax.outputs import write_text

LOG_FILE, TIMES_FILE = "log.txt", "times.jsonl"
"""In a task's folder: what its commands printed, and how long each took."""
Runner = Callable[[Sequence[str], Path, Mapping[str, str]], int]
"""Runs a command (module and arguments) with a log and an environment, and gives its exit code."""


@dataclasses.dataclass(frozen=True)
class Places:
    """Where tasks run.

    Attributes:
        devices: GPUs by their numbers; empty: all that there is.
        at_once: Tasks at a time on each of them.
        cache: Folder of compiled programs, which all share.
    """

    devices: Sequence[int]
    at_once: int
    cache: Path

    def shares(self) -> list[tuple[dict[str, str], set[int]]]:
        """What each of the tasks that run at a time has: its environment, and its share of the CPU's cores.

        No cores: the system cannot hold a process to some of them (macOS).
        """
        shared = {"JAX_COMPILATION_CACHE_DIR": str(self.cache.absolute())}
        shared |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1"}
        if self.at_once > 1:
            # Each would otherwise take most of the memory at once.
            shared |= {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.94 / self.at_once:.3f}"}
        places = [{"CUDA_VISIBLE_DEVICES": str(device)} for device in self.devices] or [{}]
        environments = [shared | place for place in places for _ in range(self.at_once)]
        # Two trainings of one thread each do more in a CPU's second than two that share all cores.
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        return [(env, set(cores[i :: len(environments)]) or set(cores)) for i, env in enumerate(environments)]


def run_command(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
    """Runs `python -m sr_jax.COMMAND`, which prints into a log."""
    with log.open("a") as file:
        file.write(f"$ python -m sr_jax.{' '.join(command)}\n")
        file.flush()
        module, *arguments = command
        return subprocess.run(
            [sys.executable, "-m", f"sr_jax.{module}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            check=False,
        ).returncode


def run_tasks(
    tasks: Sequence[Task], places: Places, *, keep: Callable[[Task], bool], runner: Runner = run_command
) -> None:
    """Runs what is not done, in order, as many at a time as there are places.

    Args:
        tasks: The tasks.
        places: Where they run.
        keep: Whether a task's checkpoints stay when it is done.
        runner: Runs one command.

    Raises:
        UserError: When the folder of a task is of another one, or a command fails; what runs beside it is let end.
    """
    for task in tasks:
        if task.differs_from_before():
            raise UserError(
                f"{task.folder} was made by other commands (see {COMMANDS_FILE} there): name another --output"
            )
    left = [task for task in tasks if not task.is_done]
    free: queue.SimpleQueue[tuple[dict[str, str], set[int]]] = queue.SimpleQueue()
    shares, failed = places.shares(), threading.Event()
    for share in shares:
        free.put(share)
    done = tqdm.tqdm(total=len(tasks), initial=len(tasks) - len(left), unit="row", desc="rows of all seeds")

    def run(task: Task) -> None:
        if failed.is_set():
            return
        share = environment, cores = free.get()
        try:
            if cores:
                # Of this thread, and so of what it starts.
                os.sched_setaffinity(0, cores)
            _run(task, environment, runner)
            if not keep(task):
                shutil.rmtree(task.workdir / FOLDER, ignore_errors=True)
            done.update()
        except BaseException:
            failed.set()
            raise
        finally:
            free.put(share)

    with done, ThreadPoolExecutor(len(shares)) as pool:
        futures = [pool.submit(run, task) for task in left]
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            future.result()


def _run(task: Task, environment: Mapping[str, str], runner: Runner) -> None:
    task.folder.mkdir(parents=True, exist_ok=True)
    write_text(task.folder / COMMANDS_FILE, json.dumps(task.described(), indent=1) + "\n")
    log = task.folder / LOG_FILE
    for command in task.commands:
        began = time.time()
        code = runner(command, log, environment)
        if code:
            raise UserError(
                f"{command[0]} of the row {task.row.name}, seed {task.seed}, ended with exit code {code} "
                f"({_last_line(log)}): see {log}; the same command goes on where it was"
            )
        with (task.folder / TIMES_FILE).open("a") as times:
            seconds = round(time.time() - began, 1)
            times.write(json.dumps({"command": command[0], "began": round(began), "seconds": seconds}) + "\n")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    return next((line.strip()[-200:] for line in reversed(lines) if line.strip()), "no output")

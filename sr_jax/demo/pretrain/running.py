"""Runs commands one after the other, each once, and keeps how long they took."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sr_jax.demo.pretrain.plan import Step
from sr_jax.errors import PreemptedError, UserError

STEPS_FILE = "steps.jsonl"
"""A line for each time that a command was run, in the folder of everything."""


def run_steps(steps: Sequence[Step], output: Path) -> None:
    """Runs the steps that are not done yet.

    Raises:
        UserError: When one fails. The same call goes on where it was.
    """
    output.mkdir(parents=True, exist_ok=True)
    done = {line["name"] for line in read_steps(output) if line["done"]}
    with _stopping_by_exception():
        for step in steps:
            if step.name in done:
                continue
            logging.info("%s\n$ %s", step.name, step.command)
            if code := _run(step, output):
                raise UserError(f"{step.name} ended with exit code {code}: the same command goes on where it was")


def read_steps(output: Path) -> list[dict[str, Any]]:
    """What was run: `name`, `command`, `began` (Unix time), `seconds`, `cpu_seconds`, `done`."""
    path = output / STEPS_FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextlib.contextmanager
def _stopping_by_exception() -> Iterator[None]:
    """SIGTERM is a `PreemptedError`, so that the command that runs is stopped, too."""

    def stop(*_: Any) -> None:
        raise PreemptedError("told to stop: the same command goes on where it was")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(step: Step, output: Path) -> int:
    """Runs a step in a process of its own, which is stopped when this one is; returns its exit code."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str((output / "compile_cache").absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",
    }
    began, before = time.time(), _cpu_seconds()
    code: int | None = None
    with subprocess.Popen([sys.executable, "-m", f"sr_jax.{step.module}", *step.arguments], env=environment) as process:
        try:
            code = process.wait()
        finally:
            if code is None:
                process.terminate()
                process.wait()
            line = {
                "name": step.name,
                "command": step.command,
                "began": round(began),
                "seconds": round(time.time() - began),
                "cpu_seconds": round(_cpu_seconds() - before),
                "done": code == 0,
            }
            with (output / STEPS_FILE).open("a") as file:
                file.write(json.dumps(line) + "\n")
    return code


def _cpu_seconds() -> float:
    """Of all processes that this one has run and that have ended."""
    times = os.times()
    return times.children_user + times.children_system

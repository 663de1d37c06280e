"""Tiny training runs of one or two processes, for the scripts beside this one."""

import argparse
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from sr_jax.checkpoints.logs import read_metrics
from sr_jax.checkpoints.reading import open_params
from sr_jax.parallel.lazy import on_host
from tests.data.synthetic import write_synthetic_dataset

RESULTS = Path(__file__).parents[1] / "results" / "reliability"
PATIENCE = 1200
"""Seconds; a busy machine takes minutes for what takes seconds."""

TINY = {
    "batch_size": 4, "num_train_steps": 40, "log_every": 1, "checkpoint_every": 4, "optimizer.name": "adamw",
    "optimizer.learning_rate": 1e-3, "optimizer.warmup_steps": 1, "optimizer.schedule": "constant",
    "model.num_attention_heads": 2, "model.attention_head_dim": 16, "model.num_layers": 1, "model.time_embed_dim": 8,
    "model.text_embed_dim": 12, "model.max_text_seq_length": 4, "model.in_channels": 8, "model.out_channels": 4,
    "model.sample_frames": 5, "model.sample_height": 4, "model.sample_width": 4,
}  # fmt: skip
"""Config of a run whose step takes milliseconds."""


class Run:
    """A run of `python -m sr_jax.train` that has been started; a context, at whose end none of its processes is left.

    Args:
        workdir: Its workdir.
        data: The dataset.
        cache: Folder of compiled programs.
        processes: 1, or several, with two devices each.
        said: Folder for what they write; beside the workdir when None.
        own_model: Whether to train the model of the config, which is larger than that of `TINY`.
        **overrides: Config fields that differ from `TINY`.
    """

    def __init__(
        self,
        workdir: Path,
        data: Path,
        cache: Path,
        *,
        processes: int = 1,
        said: Path | None = None,
        own_model: bool = False,
        **overrides: Any,
    ):
        self.workdir = workdir
        values = {name: value for name, value in TINY.items() if not (own_model and name.startswith("model."))}
        flags = [f"--config.{name}={value}" for name, value in (values | {"data.dir": data} | overrides).items()]
        command = [
            sys.executable,
            "-m",
            "sr_jax.train",
            "--config=configs/base.py:tiny",
            f"--workdir={workdir}",
            *flags,
        ]
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        if processes > 1:
            environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
            environment["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{_free_port()}"
        said = said or workdir.parent
        said.mkdir(parents=True, exist_ok=True)
        # Files, because a pipe that nobody reads would stop them once it is full.
        self._outputs = [said / f"{workdir.name}_stderr_{index}" for index in range(processes)]
        self.processes = []
        for index, path in enumerate(self._outputs):
            who = [f"--num_processes={processes}", f"--process_id={index}"] if processes > 1 else []
            with path.open("w") as output:
                self.processes.append(subprocess.Popen([*command, *who], env=environment, stderr=output, stdout=output))

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def step(self) -> int:
        """The last step that is logged; 0 before the first."""
        lines = read_metrics(self.workdir)
        return int(lines[-1]["step"]) if lines else 0

    def wait_for_step(self, step: int) -> None:
        """Returns once `step` is logged."""
        self.wait_until(lambda: self.step() >= step)

    def wait_until(self, holds: Any) -> None:
        """Returns once `holds()`, which must be while the processes run."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if any(process.poll() is not None for process in self.processes) or time.monotonic() > deadline:
                raise RuntimeError(f"{self.workdir} ended too early or takes too long: {self.stderr()}")
            time.sleep(0.005)

    def signal(self, number: signal.Signals, process: int = 0) -> float:
        """Sends a signal to one process, and says when."""
        self.processes[process].send_signal(number)
        return time.monotonic()

    def follow(self) -> list[tuple[float, int]]:
        """The last logged step and the time at which it was seen, until a process ends."""
        seen = []
        while all(process.poll() is None for process in self.processes):
            step = self.step()
            seen.append((time.time(), step))
            time.sleep(0.005)
        return seen

    def finish(self) -> list[int]:
        """The exit codes, once all processes have ended."""
        return [process.wait(timeout=PATIENCE) for process in self.processes]

    def stderr(self) -> list[str]:
        """What the processes wrote."""
        return [path.read_text(errors="replace") for path in self._outputs]


def train(workdir: Path, data: Path, cache: Path, **options: Any) -> Run:
    """A run to its end, which is its last step.

    Raises:
        RuntimeError: When it ends otherwise.
    """
    with Run(workdir, data, cache, **options) as run:
        if any(run.finish()):
            raise RuntimeError(f"{workdir} failed: {run.stderr()}")
    return run


def fingerprint(workdir: Path, *, step: int | None = None) -> str:
    """A hash of a checkpoint's parameters, averaged and not, bit for bit; reading it reads the whole of both."""
    digest = hashlib.sha256()
    for item in ("params", "ema_params"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(on_host(open_params(workdir, item=item, step=step)[0])):
            digest.update(jax.tree_util.keystr(path).encode() + leaf.tobytes())
    return digest.hexdigest()


def checkpoint_steps(workdir: Path) -> list[int]:
    """The steps of the checkpoints that are complete, ascending."""
    folder = workdir / "checkpoints"
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal()) if folder.is_dir() else []


def make_data(folder: Path, **options: Any) -> Path:
    """A dataset of random records; made once."""
    if not (folder / "made").exists():
        write_synthetic_dataset(folder, **({"clips": 24, "latent_channels": 4} | options))
        (folder / "made").touch()
    return folder


def arguments(doc: str, **more: Any) -> argparse.Namespace:
    """The command line of a script: `--scratch`, a folder in which it goes on where it was, and whole numbers.

    Args:
        doc: The script's docstring.
        **more: Further flags and their defaults.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "sr_jax_reliability")
    parser.add_argument("--output", type=Path, default=RESULTS)
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def write(folder: Path, name: str, result: Mapping[str, Any]) -> None:
    """Prints a result and writes it as `NAME.json`; ends with exit code 1 when its `holds` is false."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    if not result["holds"]:
        sys.exit(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]

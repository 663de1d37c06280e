"""Several processes, other meshes, and being told to stop: training goes on as if nothing had happened."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from sr_jax.checkpoints.logs import read_metrics
from sr_jax.configs import base
from sr_jax.data.pipeline import train_batches
from sr_jax.training import steps as step_loop
from sr_jax.training.loop import train
from tests.compiling import QUICK_COMPILES
from tests.training.helpers import assert_equal_but_for_rounding, load_params

PATIENCE = 400
"""Seconds; a busy machine takes minutes for what takes seconds."""

OVERRIDES = {
    "batch_size": 4, "num_train_steps": 3000, "log_every": 1, "checkpoint_every": 1000, "model.num_attention_heads": 2,
    "model.attention_head_dim": 16, "model.num_layers": 1, "model.time_embed_dim": 8, "model.text_embed_dim": 12,
    "model.max_text_seq_length": 4, "model.in_channels": 8, "model.out_channels": 4, "model.sample_frames": 5,
    "model.sample_height": 4, "model.sample_width": 4, "optimizer.name": "adamw", "optimizer.learning_rate": 1e-3,
    "optimizer.warmup_steps": 1, "optimizer.schedule": "constant", "mesh.data": 4, "mesh.tensor": 2,
}  # fmt: skip


class TwoProcesses:
    """A run of `python -m sr_jax.train` by two processes of four devices each; a context, at whose end none is left."""

    def __init__(self, workdir, **overrides):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = [f"--config.{name}={value}" for name, value in (OVERRIDES | overrides).items()]
        command = [sys.executable, "-m", "sr_jax.train", "--config=configs/base.py:tiny", f"--workdir={workdir}"]
        environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count=4 {QUICK_COMPILES}",
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        }
        # Files, because a pipe that nobody reads would stop them once it is full.
        self._outputs = [workdir.parent / f"stderr_{index}" for index in range(2)]
        self.processes = []
        for index, path in enumerate(self._outputs):
            arguments = [*command, *flags, "--num_processes=2", f"--process_id={index}"]
            with path.open("w") as output:
                self.processes.append(subprocess.Popen(arguments, env=environment, stderr=output))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def wait_for_step(self, workdir, step):
        """Returns once `step` is logged."""
        deadline = time.monotonic() + PATIENCE
        while not any(line["step"] >= step for line in read_metrics(workdir)):
            ended = any(process.poll() is not None for process in self.processes)
            assert not ended and time.monotonic() < deadline, self._stderr()
            time.sleep(0.01)

    def finish(self):
        """Their exit codes and what they wrote to stderr."""
        codes = [process.wait(timeout=PATIENCE) for process in self.processes]
        return codes, self._stderr()

    def _stderr(self):
        return [path.read_text() for path in self._outputs]


def _config(dataset, **overrides):
    config = base.get_config("tiny")
    config.update_from_flattened_dict(OVERRIDES | {"data.dir": str(dataset)} | overrides)
    return config


def _losses(workdir):
    return {line["step"]: line["loss"] for line in read_metrics(workdir)}


def _assert_same_losses(ours, theirs, steps):
    np.testing.assert_allclose([ours[step] for step in steps], [theirs[step] for step in steps], rtol=1e-5)


@pytest.fixture(scope="module")
def stopped(dataset, tmp_path_factory):
    """Workdir of a run of two processes, one of which was told to stop; how they ended; and the step they saved."""
    workdir = tmp_path_factory.mktemp("processes") / "run"
    with TwoProcesses(workdir, **{"data.dir": dataset}) as run:
        run.wait_for_step(workdir, 3)
        run.processes[1].send_signal(signal.SIGTERM)
        codes, outputs = run.finish()
    return workdir, codes, outputs, max(_losses(workdir))


@pytest.fixture(scope="module")
def undisturbed(dataset, stopped, tmp_path_factory):
    """Workdir of a run of this one process, on eight devices, four steps longer; it has a checkpoint at both steps."""
    workdir, step = tmp_path_factory.mktemp("undisturbed") / "run", stopped[-1]
    train(_config(dataset, num_train_steps=step + 4, checkpoint_every=step, keep_checkpoints=9), workdir)
    return workdir


def test_one_told_to_stop_stops_both_with_a_checkpoint(stopped):
    workdir, codes, outputs, step = stopped
    assert codes == [75, 75], outputs
    for output in outputs:
        assert re.search(f"told to stop: step {step} of 3000 is saved in", output)
    assert load_params(workdir)[1]["step"] == step
    # The first process alone says what is trained, and writes the log: each step is there once.
    said = [
        (words in output) for words in ("training transformer: ", "transformer/proj_out/kernel ") for output in outputs
    ]
    assert said == [True, False] * 2, outputs
    assert [line["step"] for line in read_metrics(workdir)] == list(range(1, step + 1))


def test_two_processes_compute_what_one_computes(stopped, undisturbed):
    workdir, _, _, step = stopped
    _assert_same_losses(_losses(workdir), _losses(undisturbed), range(1, step + 1))
    params = (load_params(path, item="params", step=step)[0] for path in (workdir, undisturbed))
    assert_equal_but_for_rounding(*params)


def test_two_processes_start_from_a_checkpoint_of_which_each_reads_its_part(dataset, undisturbed, tmp_path):
    """With a LoRA: the frozen transformer is split over both."""
    settings = {"init.transformer": str(undisturbed), "lora.rank": 2, "optimizer.learning_rate": 0.01}
    settings |= {"num_train_steps": 3, "mesh.data": 1, "mesh.fsdp": 4, "mesh.tensor": 2}
    with TwoProcesses(tmp_path / "two", **{"data.dir": dataset}, **settings) as run:
        codes, outputs = run.finish()
    assert codes == [0, 0], outputs
    train(_config(dataset, **settings), tmp_path / "one")
    _assert_same_losses(_losses(tmp_path / "two"), _losses(tmp_path / "one"), (1, 2, 3))
    params = (load_params(tmp_path / name, item="params")[0] for name in ("two", "one"))
    assert_equal_but_for_rounding(*params)


def test_one_process_goes_on_with_the_next_examples(dataset, stopped, undisturbed, tmp_path, monkeypatch):
    """Here on another mesh of half the devices."""
    step = stopped[-1]
    shutil.copytree(stopped[0], tmp_path / "run")
    seen, to_global = [], step_loop.to_global
    monkeypatch.setattr(
        step_loop, "to_global", lambda batch, *args: seen.append(batch["latent_mean"]) or to_global(batch, *args)
    )
    mesh = {"mesh.data": 1, "mesh.fsdp": 2, "mesh.tensor": 2}
    train(_config(dataset, num_train_steps=step + 4, **mesh), tmp_path / "run", jax.devices()[:4])
    _assert_same_losses(_losses(tmp_path / "run"), _losses(undisturbed), range(1, step + 5))
    batches = train_batches(dataset, batch_size=4, seed=0)
    expected = [next(batches)["latent_mean"] for _ in range(step + 4)][step:]
    np.testing.assert_array_equal(seen, expected)


def test_two_processes_go_on_where_one_stopped(dataset, stopped, undisturbed, tmp_path):
    """Here both processes need every row, because they differ on the context axis."""
    workdir, step = tmp_path / "run", stopped[-1]
    shutil.copytree(undisturbed, workdir)
    shutil.rmtree(workdir / "checkpoints" / str(step + 4))
    mesh = {"mesh.data": 1, "mesh.context": 4, "mesh.tensor": 2}
    with TwoProcesses(workdir, **{"data.dir": dataset, "num_train_steps": step + 4}, **mesh) as run:
        codes, outputs = run.finish()
    assert codes == [0, 0], outputs
    _assert_same_losses(_losses(workdir), _losses(undisturbed), range(1, step + 5))
    assert [line["step"] for line in read_metrics(workdir)] == list(range(1, step + 5))

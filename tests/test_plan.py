"""The plan command: what it prints and writes, its exit codes, bad input; and a TPU that is not there."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

_TINY = (
    "--config.model.num_attention_heads=2", "--config.model.attention_head_dim=16", "--config.model.num_layers=2",
    "--config.structure.num_attention_heads=2", "--config.structure.attention_head_dim=16",
    "--config.structure.num_layers=1", "--config.optimizer.name=adamw",
)  # fmt: skip


def _plan(topology, *flags, config="configs/stage_two.py:tiny"):
    command = [sys.executable, "-m", "sr_jax.plan", f"--config={config}", f"--topology={topology}", *flags]
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_eight_virtual_devices(tmp_path):
    done = _plan("cpu:8", *_TINY, "--config.mesh.fsdp=2", "--config.mesh.tensor=2", f"--output={tmp_path / 'p.json'}")
    assert done.returncode == 0, done.stderr
    assert "cpu:8: 8 devices, mesh data 2 x fsdp 2 x context 1 x tensor 2" in done.stdout
    assert "The memory of these devices is not known here." in done.stdout
    found = json.loads((tmp_path / "p.json").read_text())
    assert found["fits"] is None
    assert found["memory_total"] == sum(found["memory"].values())
    # Adam's two moments beside the parameters and their average.
    assert found["memory"]["average"] == found["memory"]["params"]
    assert found["memory"]["optimizer"] == pytest.approx(2 * found["memory"]["params"], rel=0.01)
    assert found["traffic"]["all-reduce"]["bytes"] > 0
    # Nothing but products is counted, and matrix products are kept. Gradients of the data, which model FLOPs include,
    # are computed by no one: at this size that is much.
    assert found["hardware_flops"] == pytest.approx(found["model_flops"], rel=0.1)


def test_bad_input_gives_one_line_and_exit_code_2():
    done = _plan("v9:2x2")
    assert done.returncode == 2
    assert "unknown topology 'v9:2x2': name one like v5p:2x2x4" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="compiling for TPUs needs libtpu, which the extra `tpu` installs"
)
@pytest.mark.parametrize(("batch_size", "code", "answer"), [(8, 0, "YES, it fits"), (2**22, 1, "NO, it does not fit")])
def test_a_tpu_that_is_not_there(batch_size, code, answer, tmp_path):
    flags = ("--config.mesh.data=2", "--config.mesh.fsdp=2", f"--config.batch_size={batch_size}")
    done = _plan("v5e:2x2", *_TINY, *flags, f"--output={tmp_path / 'p.json'}")
    assert done.returncode == code, done.stderr
    assert answer in done.stdout
    found = json.loads((tmp_path / "p.json").read_text())
    assert found["capacity"] == 16 * 2**30
    assert found["fits"] is (code == 0)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="as above")
def test_a_slice_that_the_compiler_does_not_know():
    done = _plan("v5p:3x2x2", *_TINY)
    assert done.returncode == 2
    assert "knows no topology 'v5p:3x2x2'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

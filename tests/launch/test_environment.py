"""launch/environment.sh: .venv is made with a Python that fits, made anew when it is broken, and of pinned packages."""

import importlib.metadata
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.launch.commands import TRAIN, train_lines

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bare(sandbox):
    """A GPU node with interpreters, none of which fits, and what is left of an environment without pip."""
    sandbox.stand_in("nvidia-smi")
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        sandbox.stand_in(name)
        sandbox.answers(name, 1)
    (sandbox.folder / ".venv/installed").unlink()
    sandbox.answers("python", 1)
    return sandbox


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("", "no Python 3.11, 3.12 or 3.13 found"),
        ("python3.9", "PYTHON is 'python3.9': it must be a Python 3.11, 3.12 or 3.13"),
        ("python3.11", "PYTHON is 'python3.11': it must be a Python 3.11, 3.12 or 3.13"),
    ],
)
def test_no_environment_is_made_with_a_python_that_does_not_fit(bare, python, message):
    if python:
        bare.answers("python3", 0)
    done = bare.run("gpu_node.sh", "--", *TRAIN, PYTHON=python)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert not any("venv" in call for call in bare.calls())


def _installs(calls):
    """What pip was told to install, call by call."""
    return [call[call.index("-e") + 1] for call in calls if call[1:4] == ["-m", "pip", "install"]]


def test_a_half_made_environment_is_made_anew(bare):
    bare.answers("python3.11", 0, "1 no ensurepip", 0, 0)
    done = bare.run("gpu_node.sh", "--", *TRAIN)
    assert (done.returncode, done.stdout) == (1, "no ensurepip\n")
    assert not (bare.folder / ".venv/installed").exists() and train_lines(bare.calls()) == []
    bare.answers("python", 1)
    done = bare.run("gpu_node.sh", "--", *TRAIN, PYTHON="python3.11")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bare.calls("python3.11")[-1] == ["python3.11", "-m", "venv", "--clear", ".venv"]
    install, train = bare.calls("python")[-2:]
    assert _installs([install]) == [".[cuda]"]
    assert "-c launch/constraints.txt" in " ".join(install)
    assert train_lines([train]) == [["-m", "sr_jax.train", *TRAIN]]
    # It counts as made.
    bare.run("gpu_node.sh", "--", *TRAIN)
    assert bare.calls("python")[-2:] == [train, train]


def test_what_the_caller_has_does_not_reach_a_sandbox(bare, monkeypatch):
    monkeypatch.setenv("PYTHON", sys.executable)
    done = bare.run("gpu_node.sh", "--", *TRAIN)
    assert (done.returncode, done.stderr[:17]) == (2, "error: no Python ")
    variables = bare.environment("python3")
    assert (variables["PATH"], variables["PIP_NO_INDEX"]) == (str(bare.tools), "1")


@pytest.mark.parametrize(("options", "extra"), [([], "cuda"), (["--cuda", "12"], "cuda12")])
def test_a_gpu_node_gets_the_packages_of_its_driver(sandbox, options, extra):
    (sandbox.folder / ".venv/installed").unlink()
    sandbox.stand_in("nvidia-smi")
    done = sandbox.run("gpu_node.sh", *options, "--", *TRAIN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _installs(sandbox.calls("python")) == [f".[{extra}]"]


@pytest.mark.parametrize("parity_first", [False, True])
def test_tests_need_no_pytorch_and_what_compares_with_it_adds_it(sandbox, parity_first):
    sandbox.stand_in("ruff", sandbox.folder / ".venv/bin")
    pytest_call = ["python", "-m", "pytest", "--quiet", "-n", "2", "--dist", "worksteal", "--durations=15"]
    for parity in (parity_first, not parity_first):
        before = len(sandbox.calls())
        options = [*(["--parity"] if parity else []), "-k", "a test"]
        done = sandbox.run("test.sh", *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert ("2.7 GB to download" in done.stdout) == parity
        calls = sandbox.calls()[before:]
        assert _installs(calls) == ([".[test,parity]"] if parity else [] if parity_first else [".[test]"])
        assert calls[-1] == [*pytest_call, *options]
        assert [call[1] for call in calls if call[0] == "ruff"] == ([] if parity else ["check", "format"])
    # Once.
    before = len(sandbox.calls())
    assert sandbox.run("test.sh", "--parity").stdout == ""
    assert sandbox.calls()[before:] == [[*pytest_call, "--parity"]]
    # All tests, with what compares, need the same.
    sandbox.run("test.sh", "--live")
    check, style, tests = sandbox.calls()[before + 1 :]
    assert (check[:2], style[:2]) == (["ruff", "check"], ["ruff", "format"])
    assert tests == [*pytest_call, "--live"]
    # And again for other versions.
    constraints = sandbox.folder / "launch/constraints.txt"
    constraints.write_text(constraints.read_text().replace("torch==", "torch==9"))
    sandbox.run("test.sh")
    assert _installs(sandbox.calls())[-1] == ".[test]"
    assert "GB to download" in sandbox.run("test.sh", "--parity").stdout
    assert _installs(sandbox.calls())[-1] == ".[test,parity]"


@pytest.mark.parametrize("failing", ["ruff", "python"])
def test_tests_fail_where_a_part_fails(sandbox, failing):
    (sandbox.folder / ".venv/installed").write_text("")
    sandbox.stand_in("ruff", sandbox.folder / ".venv/bin")
    # pip --version, pip install, pytest.
    sandbox.answers(failing, *([1] if failing == "ruff" else [0, 0, 1]))
    assert sandbox.run("test.sh").returncode == 1


@pytest.mark.parametrize(
    ("extra", "package"), [("cuda13", "jax-cuda13-plugin"), ("cuda12", "jax-cuda12-plugin"), ("tpu", "libtpu")]
)
def test_the_packages_of_an_accelerator_are_pinned(extra, package):
    lines = (ROOT / "launch/constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines[1:])}
    if importlib.metadata.version("jax") != pins["jax"]:
        pytest.skip("what another JAX than the pinned one asks for is not pinned")
    requirements = [Requirement(text) for text in importlib.metadata.requires("jax")]
    needed = [item for item in requirements if item.marker is None or item.marker.evaluate({"extra": extra})]
    assert package in [item.name for item in needed]
    assert all(item.specifier.contains(pins[canonicalize_name(item.name)]) for item in needed)

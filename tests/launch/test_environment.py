"""launch/environment.sh: .venv is made with a Python that fits, made anew when it is broken, and of pinned packages."""

import importlib.metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.launch.commands import TRAIN, train_lines

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bare(sandbox):
    """A GPU node with three interpreters, none of which fits, and what is left of an environment without pip."""
    sandbox.stand_in("nvidia-smi")
    for name in ("python3", "python3.11", "python3.12"):
        sandbox.stand_in(name)
        sandbox.answers(name, 1)
    (sandbox.folder / ".venv/installed").unlink()
    sandbox.answers("python", 1)
    return sandbox


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("", "no Python 3.11 or 3.12 found"),
        ("python3.9", "PYTHON is 'python3.9': it must be a Python 3.11 or 3.12"),
        ("python3.11", "PYTHON is 'python3.11': it must be a Python 3.11 or 3.12"),
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


def test_a_half_made_environment_is_made_anew(bare):
    bare.answers("python3.11", 0, "1 no ensurepip", 0, 0)
    done = bare.run("gpu_node.sh", "--", *TRAIN)
    assert (done.returncode, done.stdout) == (1, "no ensurepip\n")
    assert not (bare.folder / ".venv/installed").exists() and train_lines(bare.calls()) == []
    bare.answers("python", 1)
    bare.answers("python3.12", 1)
    done = bare.run("gpu_node.sh", "--", *TRAIN, PYTHON="python3.11")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bare.calls("python3.11")[-1] == ["python3.11", "-m", "venv", "--clear", ".venv"]
    install, train = bare.calls("python")[-2:]
    assert install[1:4] == ["-m", "pip", "install"] and install[-2:] == ["-e", ".[cuda]"]
    assert train_lines([train]) == [["-m", "sr_jax.train", *TRAIN]]
    # It counts as made.
    bare.run("gpu_node.sh", "--", *TRAIN)
    assert bare.calls("python")[-2:] == [train, train]


@pytest.mark.parametrize(("extra", "package"), [("cuda13", "jax-cuda13-plugin"), ("tpu", "libtpu")])
def test_the_packages_of_an_accelerator_are_pinned(extra, package):
    lines = (ROOT / "launch/constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines[1:])}
    requirements = [Requirement(text) for text in importlib.metadata.requires("jax")]
    needed = [item for item in requirements if item.marker is None or item.marker.evaluate({"extra": extra})]
    assert package in [item.name for item in needed]
    assert all(item.specifier.contains(pins[canonicalize_name(item.name)]) for item in needed)

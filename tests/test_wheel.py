"""A source distribution and the wheel that it makes, in a folder without the checkout: commands find their configs."""

import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from shutil import copy, copytree

import pytest

import sr_jax

ROOT = Path(__file__).parents[1]
# Of the root, beside the package and what makes it.
BESIDE = ("README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md")
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT / "sr_jax").with_suffix("").parts).removesuffix(".__main__")
    for path in (ROOT / "sr_jax").rglob("*.py")
    if "command_line.run(" in path.read_text()
)

# Command lines, run as `python -m` does, one after the other in one process: imports take the most of the time.
_RUN = """\
import runpy, shlex, sys
import sr_jax.configs
print(sr_jax.configs.__file__, file=sys.stderr)
for line in sys.stdin.read().splitlines():
    command, *arguments = shlex.split(line)
    sys.argv = [command, *arguments]
    try:
        runpy.run_module(f"sr_jax.{command}", run_name="__main__")
    except SystemExit as stop:
        print("exit code", stop.code, file=sys.stderr)
"""


def _pip(command, *arguments):
    options = ["--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run([sys.executable, "-m", "pip", command, *options, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory):
    """The path of a source distribution. It is built from a copy, because a build leaves files beside its source."""
    folder = tmp_path_factory.mktemp("source_distribution")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "MANIFEST.in", "LICENSE", *BESIDE):
        copy(ROOT / name, source)
    for name in ("sr_jax", "configs", "benchmarks", "docs", "launch"):
        copytree(ROOT / name, source / name, symlinks=True)
    command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(source_distribution):
    """The path of the wheel that the source distribution makes."""
    folder = source_distribution.parent
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source_distribution))
    (path,) = folder.glob("*.whl")
    return path


def test_what_a_source_distribution_holds(source_distribution):
    version = sr_jax.__version__
    assert source_distribution.name == f"sr_jax-{version}.tar.gz"
    with tarfile.open(source_distribution) as archive:
        names = {name.removeprefix(f"sr_jax-{version}/") for name in archive.getnames()}
    folders = {"docs": "*.md", "launch": "*", "sr_jax": "*.py"}
    files = [path for folder, kind in folders.items() for path in (ROOT / folder).rglob(kind) if path.is_file()]
    wanted = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    wanted |= {f"sr_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assert {*BESIDE, "LICENSE", "launch/demo.sh", "docs/training.md"} <= names
    assert sorted(wanted - names) == []
    assert [name for name in names if name.startswith(("tests", "benchmarks", "configs/"))] == []


def test_every_place_names_the_same_version(wheel):
    version = sr_jax.__version__
    assert wheel.name.startswith(f"sr_jax-{version}-")
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    newest = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert newest.split()[1].rstrip(",") == version


def test_what_a_wheel_holds(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (Parser().parsestr(archive.read(name).decode()) for name in names if name.endswith("/METADATA"))
    kinds = ("*.py", "*.j2", "*.safetensors", "card.json", "MODEL_CARD.md")
    files = (path for kind in kinds for path in (ROOT / "sr_jax").rglob(kind))
    package = [path.relative_to(ROOT) for path in files if "configs" not in path.parts]
    configs = ["sr_jax" / path.relative_to(ROOT) for path in (ROOT / "configs").glob("*.py")]
    assert len(package) > 100 and len(configs) > 5
    expected = sorted(path.as_posix() for path in [*package, *configs])
    assert sorted(name for name in names if ".dist-info/" not in name) == expected
    assert sum(name.endswith(".dist-info/licenses/LICENSE") for name in names) == 1
    assert (metadata["Author"], metadata["License"]) == ("The sr_jax authors", "Apache-2.0")
    assert metadata.get_payload().startswith("# sr_jax\n")


def test_every_command_runs_from_a_wheel_in_any_folder(wheel, tmp_path):
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    _pip("install", "--target", str(installed), str(wheel))
    bad_input = {
        "train --config configs/stage_two.py:tiny --workdir W --config.data.dir=DATA": "module is empty",
        "sample --config=configs/sample.py:cogvideox --checkpoint M --image a.png --prompt x --output b.mp4": "a.png",
        "evaluate --generated G --reference R": "no folder G",
        "prepare --config configs/prepare.py:people --input V --output D": "no input folder V",
        "demo.fit_teachers --config configs/teachers.py:people --videos V --output T": "V/train",
    }
    lines = [*(f"{command} --help" for command in COMMANDS), *bad_input]
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        input="\n".join(lines),
        cwd=empty,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    said = done.stderr.splitlines()
    assert said[0] == str(installed / "sr_jax/configs/__init__.py")
    assert len(COMMANDS) == 15 and said[1:16] == ["exit code 0"] * 15, done.stderr
    assert [command for command in COMMANDS if f"python -m sr_jax.{command} " not in done.stdout] == []
    assert said[17::2] == ["exit code 2"] * len(bad_input), done.stderr
    for error, words in zip(said[16::2], bad_input.values(), strict=True):
        assert error.startswith("error: ") and words in error
    assert list(empty.iterdir()) == []

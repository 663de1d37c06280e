"""A wheel of the project, in a folder without the checkout: all commands run and find their configs."""

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from shutil import copy, copytree

import pytest

ROOT = Path(__file__).parents[1]
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
def wheel(tmp_path_factory):
    """The path of a wheel. It is built from a copy, because a build leaves files beside its source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "README.md", "LICENSE"):
        copy(ROOT / name, source)
    for name in ("sr_jax", "configs", "benchmarks"):
        copytree(ROOT / name, source / name, symlinks=True)
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (path,) = folder.glob("*.whl")
    return path


def test_what_a_wheel_holds(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (Parser().parsestr(archive.read(name).decode()) for name in names if name.endswith("/METADATA"))
    kinds = ("*.py", "*.j2", "*.safetensors", "card.json")
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
        "evaluate --generated G --reference R": "no G/sampling.json",
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
    assert len(COMMANDS) == 12 and said[1:13] == ["exit code 0"] * 12, done.stderr
    assert [command for command in COMMANDS if f"python -m sr_jax.{command} " not in done.stdout] == []
    assert said[14::2] == ["exit code 2"] * len(bad_input), done.stderr
    for error, words in zip(said[13::2], bad_input.values(), strict=True):
        assert error.startswith("error: ") and words in error
    assert list(empty.iterdir()) == []

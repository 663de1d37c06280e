"""What `COPY . .` of launch/gke/Dockerfile puts into the image."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _ignored(path):
    """Docker's rules: a pattern is about whole paths from the root, * stays in a folder, ** does not."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert not any(re.search(r"^!|[?\[\]\\]|/$", pattern) for pattern in patterns), "not understood here"
    escaped = (re.escape(pattern) for pattern in patterns)
    regexes = (text.replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*") for text in escaped)
    return any(re.fullmatch(f"{regex}(?:/.*)?", path) for regex in regexes)


def test_the_image_has_all_that_training_needs():
    files = [path for folder in ("sr_jax", "configs", "launch") for path in (ROOT / folder).rglob("*")]
    needed = [path for path in files if path.is_file() and "__pycache__" not in path.parts]
    assert len(needed) > 200
    names = ["setup.py", "README.md", "launch/constraints.txt", *(path.relative_to(ROOT).as_posix() for path in needed)]
    assert [name for name in names if _ignored(name)] == []


@pytest.mark.parametrize(
    "path",
    [
        ".git/objects/pack/p.pack", ".venv/bin/python", ".venv-old/bin/python", "sr_jax/models/__pycache__/vae.pyc",
        "__pycache__/setup.pyc", "sr_jax.egg-info/PKG-INFO", "demo_output/data/clips.array_record", "real_output/x",
        "tests/conftest.py", "gpu_node.log", "sr_jax-12.failures", "build/lib/x.py", ".jax_cache/program",
    ],
)  # fmt: skip
def test_the_image_has_nothing_else(path):
    assert _ignored(path)


def test_what_git_ignores_is_not_in_the_image():
    for name in (ROOT / ".gitignore").read_text().split():
        assert _ignored(name.rstrip("/").replace("*", "x")), name

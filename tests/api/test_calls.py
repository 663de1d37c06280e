"""What docs/python.md and the notebooks call: names, arguments, configs and keys exist, and notebooks are as new."""

import ast
import importlib
import importlib.util
import inspect
import json
import re
from pathlib import Path

import pytest

import sr_jax
from sr_jax.api import load_config
from sr_jax.api.settings import _NO_CONFIGS
from sr_jax.command_line import require_key
from tests.documentation import CONFIGS, ROOT, blocks

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_NAMES = {path.stem for path in CONFIGS} - {*_NO_CONFIGS}


def _cells(path: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def _sources() -> dict[str, str]:
    """All code that is shown, one text for each page and notebook."""
    shown = {path.name: _with_size("\n".join(_cells(path, "code"))) for path in NOTEBOOKS}
    return shown | {"python.md": "\n".join(blocks(ROOT / "docs/python.md", "python"))}


def _with_size(source: str) -> str:
    """Code with the size that its settings name in the names of configs."""
    size = re.search(r'^SIZE = "(\w+)"', source, re.MULTILINE)
    return re.sub(r'f"(\w+):\{SIZE\}"', rf'"\1:{size[1]}"', source) if size else source


_SOURCES = _sources()


def _calls(tree: ast.AST) -> list[ast.Call]:
    """The calls of functions of `sr_jax` itself."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return [call for call in calls if isinstance(call.func.value, ast.Name) and call.func.value.id == "sr_jax"]


@pytest.mark.parametrize("name", _SOURCES)
def test_functions_take_the_arguments_that_they_are_given(name):
    calls = _calls(ast.parse(_SOURCES[name]))
    assert len({call.func.attr for call in calls}) >= 8
    for call in calls:
        assert call.func.attr in sr_jax.__all__, call.func.attr
        options = {keyword.arg: None for keyword in call.keywords}
        inspect.signature(getattr(sr_jax, call.func.attr)).bind(*call.args, **options)


@pytest.mark.parametrize("name", _SOURCES)
def test_configs_and_their_keys_exist(name):
    tree = ast.parse(_SOURCES[name])
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    configs = [load_config(text) for text in texts if text.partition(":")[0] in _NAMES and ":" in text]
    assert len(configs) >= 4
    keys = [key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in map(ast.literal_eval, node.keys)]
    # What is shown is not a key of a config.
    shown = {
        ast.literal_eval(key)
        for call in _calls(tree)
        if call.func.attr == "show_clips"
        for clips in call.args
        if isinstance(clips, ast.Dict)
        for key in clips.keys
    }
    for key in {*keys} - shown:
        assert any(_has(config, key) for config in configs), f"no config has {key}"


def _has(config, key: str) -> bool:
    try:
        require_key(config, key)
    except sr_jax.errors.UserError:
        return False
    return True


@pytest.mark.parametrize("name", _SOURCES)
def test_what_is_imported_is_there(name):
    for node in ast.walk(ast.parse(_SOURCES[name])):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("sr_jax"):
            assert all(hasattr(importlib.import_module(node.module), alias.name) for alias in node.names), node.module
        elif isinstance(node, ast.ImportFrom) and importlib.util.find_spec(node.module.partition(".")[0]) is None:
            # Of the extra `notebook`, which the tests do without.
            assert node.module in ("diffusers", "IPython.display"), node.module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_as_if_it_was_never_run(path):
    notebook = json.loads(path.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len({*ids}) > 8
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), cell["id"]
    assert path.read_text() == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_names_in_prose_is_there(path):
    words = " ".join(_cells(path, "markdown")).split("`")[1::2]
    files = [word.removeprefix("bash ") for word in words if "/" in word or word.endswith(".md")]
    assert all((ROOT / file).exists() for file in files), files


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_where_a_notebook_installs_from_is_its_first_setting(path):
    [*_, first, install] = _cells(path, "code")[:2]
    values = {node.id for node in ast.walk(ast.parse(first)) if isinstance(node, ast.Name)}
    assert "REPO" in values and "REPO" in install and "[{extras}]" in install
    extras = (ROOT / "setup.py").read_text()
    for extra in ("demo", "notebook", "cuda12", "tpu"):
        assert f'"{extra}": ' in extras and extra in install

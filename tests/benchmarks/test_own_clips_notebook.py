import ast
import json

import pytest

from benchmarks.own_clips_notebook import NAME, ROOT, settings, with_settings
from sr_jax.api import load_config


def _values(source):
    names = {}
    exec(compile(ast.parse(source), NAME, "exec"), names)
    return {name: value for name, value in names.items() if name.isupper()}


def test_what_is_set_otherwise_are_settings_of_the_notebook():
    notebook = json.loads((ROOT / "notebooks" / NAME).read_text())
    [before] = [_values("".join(cell["source"])) for cell in notebook["cells"] if cell["metadata"].get("tags")]
    cells = with_settings(notebook, settings())["cells"]
    [after] = [_values("".join(cell["source"])) for cell in cells if cell["metadata"].get("tags")]
    assert {*before} == {*after} and {*settings()} < {*before}
    assert after.items() >= settings().items() and all(type(after[name]) is type(before[name]) for name in after)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("prepare:cogvideox", "MORE_PREPARE"),
        ("stage_one:5b_i2v", "MORE_TRAINING"),
        ("stage_two:5b_i2v", "MORE_TRAINING"),
        ("sample:cogvideox", "MORE_SAMPLING"),
    ],
)
def test_further_keys_are_keys_of_their_configs(config, name):
    load_config(config, settings()[name])

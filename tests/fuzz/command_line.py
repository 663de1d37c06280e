"""Command lines that nobody would write: none gives a traceback, and no value is accepted that is not declared."""

import math
import sys
from typing import Any
from unittest import mock

import ml_collections
from absl import flags
from hypothesis import strategies as st
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs import evaluate, prepare, sample, teachers, training
from sr_jax.declared.checking import entries
from sr_jax.declared.keys import Key
from tests.fuzz.base import Property, refusal

_KEYS_OF = {
    "base.py:tiny": training.keys_of,
    "stage_one.py:2b": training.keys_of,
    "stage_two.py:5b_i2v": training.keys_of,
    "prepare.py:cogvideox": lambda _: prepare.KEYS,
    "sample.py:people": lambda _: sample.KEYS,
    "evaluate.py:people": lambda _: evaluate.KEYS,
    "teachers.py:real": lambda _: teachers.KEYS,
}
_PATHS = {
    name: [path for path, _, _ in entries(keys_of(config), config)]
    for name, keys_of in _KEYS_OF.items()
    for module, _, size in [name.partition(".py:")]
    for config in [sys.modules[f"sr_jax.configs.{module}"].get_config(size)]
}
_LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**33) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
_VALUES = (
    _LITERALS.map(repr)
    | st.text(max_size=12)
    | st.sampled_from(
        ["", "-1", "0", "1e400", "-0.0", "1_0", "0x10", "inf", "nan", "None", "True", "(", "[" * 300, "{}"]
    )
)


@st.composite
def _arguments(draw: st.DrawFn) -> list[str]:
    """`--config`, up to three settings, mostly of keys that there are, and rarely something else."""
    name = draw(st.sampled_from(sorted(_KEYS_OF)))
    arguments = [f"--config=configs/{name}{draw(st.just('') | st.text(max_size=2))}"]
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(_PATHS[name]))
        # A section, a key in a value, a misspelt one.
        path = draw(st.sampled_from([path, path, path, path.partition(".")[0], f"{path}.x", path[:-1]]))
        path = draw(st.just(path) | st.text(max_size=6))
        arguments += draw(
            st.sampled_from(
                [[f"--config.{path}="], [f"--config.{path}", ""], [f"-config.{path}="], [f"--config.{path}"]]
            )
        )
        if arguments[-1] == "" or arguments[-1].endswith("="):
            arguments[-1] += draw(_VALUES)
        elif draw(st.booleans()):
            arguments[-1] = f"--noconfig.{path}"
    if draw(st.integers(0, 9)) == 0:
        arguments.append(
            draw(st.sampled_from(["", "-", "--", "--flagfile=", "--flagfile=no", "--undefok=", "--config"]))
        )
    return arguments


def _is_right(key: Key, value: Any) -> bool:
    """What `Key.allows` says, read off the declaration once more."""
    if value is None:
        return key.default is None
    wanted = key.kind or type(key.default)
    if wanted is float and type(value) is int:
        value = float(value)
    if wanted is dict:
        return isinstance(value, ml_collections.ConfigDict)
    if type(value) is not wanted:
        return False
    if wanted is tuple:
        whole = key.length is None or len(value) == key.length
        return whole and (key.items is None or all(_is_right(key.items, item) for item in value))
    if key.choices:
        return any(value == choice for choice in key.choices)
    if wanted is float and not math.isfinite(value):
        return False
    below = (key.minimum is not None and value < key.minimum) or (key.above is not None and value <= key.above)
    over = (key.maximum is not None and value > key.maximum) or (key.below is not None and value >= key.below)
    return not (below or over) or any(value == other for other in key.besides)


def _is_refused_in_one_line_or_right(arguments: list[str]) -> None:
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "Any.", flag_values=values)
    name = arguments[0].partition("configs/")[2]
    keys_of = _KEYS_OF.get(name, training.keys_of)
    # ml_collections looks for what is set in a config here.
    with mock.patch.object(sys, "argv", ["program", *arguments]):
        message = refusal(lambda: command_line.parse(values, sys.argv, keys_of=keys_of))
    if message is not None:
        assert "Traceback" not in message
        return
    wrong = [
        (path, value)
        for path, key, value in entries(keys_of(values.config), values.config)
        if key is not None and not _is_right(key, value)
    ]
    assert wrong == []


_FOUND = [
    ["--config=configs/base.py:tiny0", "--config"],
    ["--config=configs/evaluate.py:people", "--config.codec={}", "--config.codec.name=None"],
]
"""What once gave a traceback."""

PROPERTIES = [
    Property(
        "command lines are refused in one line or right",
        _arguments() | st.sampled_from(_FOUND),
        _is_refused_in_one_line_or_right,
    )
]

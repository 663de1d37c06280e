"""Configs by name, with changes."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from sr_jax import configs
from sr_jax.command_line import require_key
from sr_jax.configs.training import keys_of
from sr_jax.declared.checking import check
from sr_jax.errors import UserError

Changes = Mapping[str, Any]
"""From config keys, with dots between sections, to values; a path counts as its text."""

# Modules beside the configs that share parts with them.
_NO_CONFIGS = ("__init__", "common", "objectives", "pods", "sections", "training")


def load_config(name: str, changes: Changes | None = None) -> ml_collections.ConfigDict:
    """A config of `configs/`, changed and checked: what the command line makes of `--config` and `--config.KEY=VALUE`.

    Args:
        name: `FILE:SIZE`, such as `stage_two:small`.
        changes: Its keys that are to have other values.

    Raises:
        UserError: For a config, size or key that does not exist, or a value that a key may not have.
    """
    file, _, size = name.partition(":")
    known = sorted({path.stem for path in Path(configs.__file__).parent.glob("*.py")} - {*_NO_CONFIGS})
    if file not in known:
        raise UserError(f"no config {file!r}: choose one of {', '.join(known)}, with its size: stage_two:small")
    module = importlib.import_module(f"sr_jax.configs.{file}")
    try:
        config = module.get_config(size) if size else module.get_config()
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    for path, value in (changes or {}).items():
        _set(config, path, value)
    check(keys_of(config) if "stage" in config else module.KEYS, config)
    return config


def _set(config: ml_collections.ConfigDict, path: str, value: Any) -> None:
    """Changes one key.

    Raises:
        UserError: When there is none, or its values are of another type.
    """
    require_key(config, path)
    value = str(value) if isinstance(value, Path) else tuple(value) if isinstance(value, list) else value
    *sections, name = path.split(".")
    section = config
    for step in sections:
        section = section[step]
    try:
        section[name] = value
    except TypeError as error:
        raise UserError(f"config.{path} cannot be {value!r}: its value is {section[name]!r}") from error

"""A training workdir belongs to one config; this file guards that."""

import json
from pathlib import Path
from typing import Any

import ml_collections

from sr_jax.errors import UserError

_CONFIG_FILE = "config.json"

_MAY_CHANGE = ("log_every", "checkpoint_every", "keep_checkpoints")
"""Config fields that change nothing of what a run computes."""


def check_config(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Checks that `workdir` is new or was started with this config.

    A longer run (`num_train_steps`) is the same run as far as it went when the learning rate does not depend on its
    length, that is, with the constant schedule.

    Raises:
        UserError: Naming the first field that differs.
    """
    path = workdir / _CONFIG_FILE
    if not path.exists():
        if workdir.is_dir() and any(workdir.iterdir()):
            raise UserError(f"{workdir} is not empty and no training run: name a new or empty folder as --workdir")
        return
    started, now = _flatten(json.loads(path.read_text())), _flatten(json.loads(config.to_json()))
    may_change = {*_MAY_CHANGE} | ({"num_train_steps"} if config.optimizer.schedule == "constant" else set())
    for name in sorted(started.keys() | now.keys()):
        if name not in may_change and started.get(name) != now.get(name):
            raise UserError(
                f"{workdir} was started with config.{name}={started.get(name)!r}, now it is {now.get(name)!r}: "
                "use another --workdir, or the config it was started with"
            )


def write_config(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Writes the config into the workdir, at once or not at all."""
    workdir.mkdir(parents=True, exist_ok=True)
    partial = workdir / f".{_CONFIG_FILE}.partial"
    partial.write_text(config.to_json(indent=2) + "\n")
    partial.replace(workdir / _CONFIG_FILE)


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat

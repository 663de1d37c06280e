"""A training workdir belongs to one config; this file guards that."""

import json
import re
import time
from pathlib import Path

import jax
import ml_collections
from flax.traverse_util import flatten_dict

from sr_jax.checkpoints.upgrade import upgraded
from sr_jax.errors import UserError
from sr_jax.outputs import is_leftover, write_text
from sr_jax.parallel import processes

_CONFIG_FILE = "config.json"

_MAY_CHANGE = (
    "log_every", "checkpoint_every", "checkpoint_minutes", "keep_checkpoints", "keep_checkpoints_every",
    "max_skipped_steps", "watchdog", "profile", "remat", "accumulate_steps", "mesh", "sharding",
)  # fmt: skip
"""Config fields, or sections of them, that change nothing of what a run computes."""


def check_config(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Checks that `workdir` is new or was started with this config.

    A longer run (`num_train_steps`) is the same run as far as it went when the learning rate does not depend on its
    length, that is, with the constant schedule.

    Raises:
        UserError: Naming the first field that differs; or when `workdir` is no folder, or holds something else.
    """
    if re.match(r"\w+:/", str(workdir)):
        raise UserError(f"{workdir} is no folder: mount the bucket, and name a folder in it as --workdir")
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file: name a new or empty folder as --workdir")
    path = workdir / _CONFIG_FILE
    if not path.exists():
        # A run that was killed while it wrote its config has written nothing else.
        if workdir.is_dir() and not all(is_leftover(found) for found in workdir.iterdir()):
            raise UserError(f"{workdir} is not empty and no training run: name a new or empty folder as --workdir")
        return
    try:
        before = upgraded(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): bring it back, or name a new --workdir") from error
    started, now = (flatten_dict(x, sep=".") for x in (before, json.loads(config.to_json())))
    may_change = {*_MAY_CHANGE} | ({"num_train_steps"} if config.optimizer.schedule == "constant" else set())
    for name in sorted(started.keys() | now.keys()):
        if name.partition(".")[0] not in may_change and started.get(name) != now.get(name):
            raise UserError(
                f"{workdir} was started with config.{name}={started.get(name)!r}, now it is {now.get(name)!r}: "
                "use another --workdir, or the config it was started with"
            )


def write_config(config: ml_collections.ConfigDict, workdir: Path, *, patience: float = 60.0) -> None:
    """Writes the config into the workdir, at once or not at all; the first of several processes does.

    Args:
        config: The config.
        workdir: The workdir; made when missing.
        patience: Seconds that the other processes wait to see it. Network file systems may show a new file late.

    Raises:
        UserError: When the folder cannot be written, or the processes do not share it: checkpoints would be torn apart.
    """
    path, text = workdir / _CONFIG_FILE, config.to_json(indent=2) + "\n"
    with processes.agreed():
        if jax.process_index() == 0:
            try:
                workdir.mkdir(parents=True, exist_ok=True)
                for leftover in filter(is_leftover, list(workdir.iterdir())):
                    leftover.unlink()
                write_text(path, text)
            except OSError as error:
                raise UserError(f"{path} cannot be written ({error.strerror}): choose another --workdir") from error
    with processes.agreed():
        deadline = time.monotonic() + patience
        while not (path.exists() and path.read_text() == text):
            if time.monotonic() > deadline:
                raise UserError(f"process {jax.process_index()} does not see {path}: name a --workdir that all share")
            time.sleep(1.0)

"""A training workdir belongs to one config; this file guards that."""

import json
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
from flax.traverse_util import flatten_dict

from sr_jax.checkpoints.reading import exists, read_run_meta
from sr_jax.checkpoints.upgrade import upgraded
from sr_jax.errors import UserError
from sr_jax.outputs import is_leftover, write_text
from sr_jax.parallel import processes
from sr_jax.training.defaults import with_defaults
from sr_jax.training.origins import may_change

_CONFIG_FILE = "config.json"

_FREE = (
    "log_every", "checkpoint_every", "checkpoint_minutes", "keep_checkpoints", "keep_checkpoints_every",
    "keep_best", "max_skipped_steps", "watchdog", "profile", "heldout", "samples", "trackers", "remat",
    "accumulate_steps", "mesh", "sharding", "data.max_damaged", "init.may_differ", "resume",
)  # fmt: skip
"""Config fields, or sections of them, that change nothing of what a run computes."""

_WHEN_ALLOWED = (
    "batch_size", "num_train_steps", "optimizer.learning_rate", "optimizer.muon_learning_rate", "optimizer.schedule",
    "optimizer.warmup_steps",
)  # fmt: skip
"""Those that may change on the way when `config.resume.allow` names them."""

_PLACES = re.compile(r"data\.dir|data\.more_dirs|init\.transformer|init\.modules|alignment\.\w+\.module")
"""Those that say where something is; what it is, `origins` knows by its contents."""


class _Change(NamedTuple):
    """A config field that is not as it was."""

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"config.{self.name}={self.before!r}, now it is {self.now!r}"


def check_config(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Checks that `workdir` is new or was started with this config, and tells of fields that may and do differ.

    A longer run (`num_train_steps`) is the same run as far as it went when the learning rate does not depend on its
    length, that is, with the constant schedule.

    Raises:
        UserError: Naming the fields that differ; when `config.resume.allow` names a field that may not; or when
            `workdir` is no folder, or holds something else.
    """
    if re.match(r"\w+:/", str(workdir)):
        raise UserError(f"{workdir} is no folder: mount the bucket, and name a folder in it as --workdir")
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file: name a new or empty folder as --workdir")
    allowed = _allowed(config)
    before = _config_before(workdir)
    if before is None:
        return
    may = allowed | ({"num_train_steps"} if config.optimizer.schedule == "constant" else set())
    then, today = (_flat(with_defaults(values)) for values in (before, json.loads(config.to_json())))
    changes = _changes(then, today, _places_are_known(workdir))
    if added := _added(then, today):
        # What is new computes what went without saying, unless the user sets it otherwise.
        _say(f"{workdir} was started by a version without {added}")
    if refused := [change for change in changes if change.name not in may]:
        raise UserError(f"{workdir} was started with {'; '.join(map(str, refused))}: {_advice(refused, allowed)}")
    if changes:
        _say(f"{workdir} was started with {'; '.join(map(str, changes))}")


def _allowed(config: ml_collections.ConfigDict) -> set[str]:
    allowed = may_change(config)
    for name in sorted(allowed):
        if name not in _WHEN_ALLOWED and not _PLACES.fullmatch(name):
            raise UserError(
                f"config.resume.allow names {name!r}, which no run can change on its way: choose from "
                f"{', '.join(_WHEN_ALLOWED)}, data.dir and data.more_dirs"
            )
    return allowed


def _config_before(workdir: Path) -> dict[str, Any] | None:
    """The config that a workdir was started, or last resumed, with; None for a new one."""
    path = workdir / _CONFIG_FILE
    if path.exists():
        return upgraded(_read_config(path, workdir))
    if exists(workdir):
        return read_run_meta(workdir)["config"]
    # A run that was killed while it wrote its config has written nothing else.
    if workdir.is_dir() and not all(is_leftover(found) for found in workdir.iterdir()):
        raise UserError(f"{workdir} is not empty and no training run: name a new or empty folder as --workdir")
    return None


def _read_config(path: Path, workdir: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
        if not isinstance(config, dict) or "stage" not in config:
            raise ValueError("it holds no config of a run")
    except (OSError, ValueError) as error:
        advice = "it, and what the newest checkpoint says is taken" if exists(workdir) else "the folder"
        raise UserError(f"{path} cannot be read ({error}): remove {advice}") from error
    return config


def _places_are_known(workdir: Path) -> bool:
    """Whether what lies at the places that a config names is known by its contents, or nothing was made of it yet."""
    return not exists(workdir) or "origins" in read_run_meta(workdir)


def _changes(then: Mapping[str, Any], today: Mapping[str, Any], places_are_known: bool) -> list[_Change]:
    """What differs between two configs, but for what may, and for keys that the version then did not have."""
    changes = []
    for name in sorted(then.keys() | today.keys()):
        change = _Change(name, then.get(name), today.get(name))
        is_place = places_are_known and _PLACES.fullmatch(name) and change.before and change.now
        if change.before != change.now and not (_is_free(name) or is_place or _is_new(name, then)):
            changes.append(change)
    return changes


def _added(then: Mapping[str, Any], today: Mapping[str, Any]) -> str:
    """The keys, with their values, that the version then did not have."""
    new = [name for name in sorted(today) if _is_new(name, then) and not _is_free(name)]
    return ", ".join(f"config.{name}={today[name]!r}" for name in new)


def _is_free(name: str) -> bool:
    return name in _FREE or name.partition(".")[0] in _FREE


def _is_new(name: str, then: Mapping[str, Any]) -> bool:
    """Whether a key was not there, though the objective, if it is of one, was."""
    section, objective, _ = f"{name}..".split(".", 2)
    known = section != "alignment" or any(other.startswith(f"alignment.{objective}.") for other in then)
    return name not in then and known


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    return flatten_dict(dict(config), sep=".")


def _say(line: str) -> None:
    if jax.process_index() == 0:
        logging.warning("%s", line)


def _advice(refused: list[_Change], allowed: set[str]) -> str:
    advice = "use another --workdir, or the config it was started with"
    names = [change.name for change in refused]
    if all(name in _WHEN_ALLOWED or _PLACES.fullmatch(name) for name in names):
        return f"{advice}; to go on with the change, --config.resume.allow={','.join(sorted(allowed | set(names)))}"
    return advice


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

"""What a run computes from: data, start and frozen parts, known by their contents and not by their paths."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections

from sr_jax.checkpoints.origins import step_with, weights_hash
from sr_jax.checkpoints.reading import read_meta
from sr_jax.data.contents import change, contents
from sr_jax.data.pipeline import TrainBatches
from sr_jax.data.positions import Position
from sr_jax.errors import UserError
from sr_jax.training.stages import Stage


def read_origins(
    config: ml_collections.ConfigDict,
    workdir: Path,
    stage: Stage,
    data: TrainBatches,
    started: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What a run computes from, for the `meta` of its checkpoints.

    Args:
        config: See `configs/`.
        workdir: Of the run.
        stage: Of the run.
        data: Its batches.
        started: `meta` of the checkpoint that the run goes on from; None for a new one. Of an earlier version it may
            know only how many clips there were, and the steps of the frozen parts.

    Returns:
        `num_clips`: of each shape of clips; `frozen_steps`: which checkpoint of its workdir each frozen part is; and
        `origins`: `data` (`contents.contents`), `start` (a hash, or empty), `frozen` (their hashes) and `places` (their
        workdirs, seen from this one).

    Raises:
        UserError: When something is not what the run was started with.
    """
    sources = {name: frozen.source for name, frozen in stage.frozen.items() if frozen.source}
    before = (started or {}).get("origins")
    if started is None:
        steps = {name: read_meta(source)["step"] for name, source in sources.items()}
    elif before is None:
        steps = _newest_as_before(workdir, sources, started["frozen_steps"])
    else:
        steps = {name: _step_as_before(workdir, name, source, before["frozen"]) for name, source in sources.items()}
    return {
        "num_clips": [len(group) for group in data.groups],
        "frozen_steps": steps,
        "origins": {
            "data": _checked_data(config, workdir, data, started),
            "start": _checked_start(config, workdir, stage, started),
            "frozen": {name: weights_hash(source, step=steps[name]) for name, source in sources.items()},
            "places": {name: os.path.relpath(source, workdir) for name, source in sources.items()},
        },
    }


def position(started: Mapping[str, Any], origins: Mapping[str, Any], batch_size: int) -> Position:
    """Where in the data a run's batches began to be of one size.

    Args:
        started: `meta` of the checkpoint that it goes on from.
        origins: Of today. Data that has changed since is read from its start.
        batch_size: Of today.
    """
    nothing = [0] * len(origins["data"]["clips"])
    if _data_change(started, origins["data"]):
        return Position(started["step"], batch_size, nothing)
    if "data_position" in started:
        return Position(**started["data_position"])
    return Position(0, started["config"]["batch_size"], nothing)


def may_change(config: ml_collections.ConfigDict) -> set[str]:
    """What the user says may be other than it was, as `config.resume.allow` names it."""
    return set(filter(None, (name.strip() for name in config.resume.allow.split(","))))


def start_of(init: Mapping[str, Any] | ml_collections.ConfigDict) -> str:
    """Where a run starts, of its config's `init` section: modules that are taken further, or a transformer."""
    return init.get("modules") or init["transformer"]


def _newest_as_before(workdir: Path, sources: Mapping[str, str], before: Mapping[str, int]) -> dict[str, int]:
    steps = {name: read_meta(source)["step"] for name, source in sources.items()}
    for name, step in steps.items():
        if step != before[name]:
            raise UserError(
                f"{workdir} was started with the frozen {name} at step {before[name]}, now that is at step {step}: use "
                "another --workdir"
            )
    return steps


def _step_as_before(workdir: Path, name: str, source: str, before: Mapping[str, str]) -> int:
    step = step_with(source, before[name])
    if step is None:
        raise UserError(
            f"{workdir} was started with a frozen {name} that is none of the checkpoints in {source}: name the folder "
            "that holds it by now, or use another --workdir"
        )
    return step


def _checked_data(
    config: ml_collections.ConfigDict, workdir: Path, data: TrainBatches, started: Mapping[str, Any] | None
) -> dict[str, Any]:
    now = contents(data.mixture.folders, data.groups)
    if started is None:
        return now
    changed = _data_change(started, now)
    if not changed:
        # A file that is damaged today is known by what it was.
        before = started.get("origins", {}).get("data", now)["files"]
        return now | {"files": [[name, hashed or then] for (name, hashed), (_, then) in zip(now["files"], before)]}
    if not {"data.dir", "data.more_dirs"} & may_change(config):
        raise UserError(
            f"{workdir} was started on other data than there is in config.data.dir={config.data.dir}: {changed}; name "
            "the folder that holds it by now, use another --workdir, or take this data from its first clip on with "
            "--config.resume.allow=data.dir"
        )
    _say(f"{workdir} goes on with other data than it was started on: {changed}")
    return now


def _data_change(started: Mapping[str, Any], now: dict[str, Any]) -> str:
    # Earlier versions knew only how many clips there were.
    before = started.get("origins", {}).get("data") or now | {"clips": started["num_clips"]}
    return change(before, now)


def _checked_start(
    config: ml_collections.ConfigDict, workdir: Path, stage: Stage, started: Mapping[str, Any] | None
) -> str:
    """The hash of the weights that training starts from.

    A run that goes on needs them no more. What is at the same place by now may be others, trained since.
    """
    source = start_of(config.init)
    if not source or "transformer" in stage.frozen:
        return ""
    if started is None:
        return weights_hash(source)
    before = started.get("origins", {}).get("start", "")
    moved = source != start_of(started["config"]["init"])
    if before and moved and Path(source).is_dir() and step_with(source, before) is None:
        raise UserError(
            f"{workdir} was started from weights that are none of those in {source}, which config.init names: name the "
            "folder that holds them by now, or use another --workdir"
        )
    return before


def _say(line: str) -> None:
    if jax.process_index() == 0:
        logging.warning("%s", line)

"""Reads the state of a run from its newest checkpoint that is whole, onto whatever mesh there is."""

import logging
import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from sr_jax.checkpoints.reading import DAMAGED, FOLDER, alone
from sr_jax.errors import UserError
from sr_jax.parallel import processes
from sr_jax.training.state import TrainState

_SET_ASIDE = "damaged_checkpoints"


def restore(workdir: Path, abstract: TrainState) -> TrainState | None:
    """Restores the newest checkpoint that is whole onto the shardings of `abstract`; None when there is no checkpoint.

    Newer ones that are damaged are told of, and moved to `damaged_checkpoints` of the workdir; what was there before is
    removed. Every process calls this.

    Raises:
        UserError: When there are checkpoints and all are damaged; they stay where they are.
    """
    folder = workdir.absolute() / FOLDER
    if not folder.is_dir():
        return None
    damaged: dict[int, str] = {}
    options = ocp.CheckpointManagerOptions(create=False, multiprocessing_options=alone())
    with ocp.CheckpointManager(folder, options=options) as manager:
        for step in sorted(manager.all_steps(), reverse=True):
            problem, state = None, None
            try:
                state = _restore(manager, step, abstract)
            except DAMAGED as error:
                problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            # Together: each process reads its own parts.
            if not processes.votes(problem is not None).any():
                _set_aside(workdir, damaged, goes_on_from=step)
                return state
            damaged[step] = problem or "another process cannot read its part"
    if not damaged:
        return None
    listed = "; ".join(f"step {step}: {problem}" for step, problem in damaged.items())
    raise UserError(
        f"no checkpoint in {workdir} can be read ({listed}): bring one back, or name a new --workdir to start anew"
    )


def _restore(manager: ocp.CheckpointManager, step: int, abstract: TrainState) -> TrainState:
    items = {"params": abstract.params, "ema_params": abstract.ema_params, "opt_state": abstract.opt_state}
    # Where a stage carries nothing, checkpoints have none, as all had before there were stages that do.
    items |= {"running": abstract.running} if abstract.running else {}
    wanted = {name: ocp.args.StandardRestore(tree) for name, tree in items.items()}
    restored = manager.restore(step, args=ocp.args.Composite(**wanted, meta=ocp.args.JsonRestore()))
    return TrainState(
        step=jax.device_put(np.int32(step), abstract.step.sharding),
        params=restored.params,
        opt_state=restored.opt_state,
        ema_params=restored.ema_params,
        running=restored.running if abstract.running else {},
    )


def _set_aside(workdir: Path, damaged: dict[int, str], *, goes_on_from: int) -> None:
    if not damaged:
        return
    if jax.process_index() == 0:
        aside = workdir / _SET_ASIDE
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for step, problem in damaged.items():
            logging.warning(
                "the checkpoint of step %d is damaged (%s): it is moved to %s, and the run goes on from step %d",
                step,
                problem,
                aside,
                goes_on_from,
            )
            (workdir / FOLDER / str(step)).rename(aside / str(step))
    # No process opens the folder to write before.
    processes.votes(True)

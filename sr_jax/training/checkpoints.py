"""Orbax checkpoints: parameters, average, optimizer and step, saved together or not at all.

Layout: `<workdir>/checkpoints/<step>/{params,ema_params,opt_state,meta}`. `meta` is JSON: step, stage, config and the
provenance of the dataset, so that a checkpoint says by itself what it is. Nothing depends on the mesh or the number of
processes: arrays are restored onto whatever mesh there is, and the position in the data is the step.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from sr_jax.conversion.components import is_diffusers
from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.parallel.stored import open_item, save_args
from sr_jax.training.state import TrainState

_FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints of one workdir. Saving is asynchronous and atomic; a killed save leaves the one before it."""

    def __init__(self, workdir: Path, *, save_every: int, keep: int):
        """Opens the workdir's checkpoints; `keep` is how many of the newest stay on disk."""
        options = ocp.CheckpointManagerOptions(save_interval_steps=save_every, max_to_keep=keep)
        self._manager = ocp.CheckpointManager(workdir.absolute() / _FOLDER, options=options)

    def latest_step(self) -> int | None:
        """Number of updates in the newest complete checkpoint; None when there is none."""
        return self._manager.latest_step()

    def is_due(self, step: int) -> bool:
        """Whether `save` saves `step` without being forced to."""
        return self._manager.should_save(step)

    def save(self, step: int, state: TrainState, meta: dict[str, Any], *, force: bool) -> None:
        """Saves when `step` is due, or always with `force`."""
        if self._manager.latest_step() == step or not (force or self.is_due(step)):
            return
        items = ocp.args.Composite(
            params=_save(state.params),
            ema_params=_save(state.ema_params),
            opt_state=_save(state.opt_state),
            meta=ocp.args.JsonSave(meta | {"step": step}),
        )
        self._manager.save(step, args=items, force=force)

    def restore(self, abstract: TrainState) -> TrainState:
        """Restores the newest checkpoint onto the shardings of `abstract`."""
        step = self._manager.latest_step()
        items = ocp.args.Composite(
            params=ocp.args.StandardRestore(abstract.params),
            ema_params=ocp.args.StandardRestore(abstract.ema_params),
            opt_state=ocp.args.StandardRestore(abstract.opt_state),
        )
        restored = self._manager.restore(step, args=items)
        return TrainState(
            step=jax.device_put(np.int32(step), abstract.step.sharding),
            params=restored.params,
            opt_state=restored.opt_state,
            ema_params=restored.ema_params,
        )

    def close(self) -> None:
        """Waits for the last save."""
        self._manager.wait_until_finished()
        self._manager.close()


def _save(tree: Any) -> ocp.args.StandardSave:
    return ocp.args.StandardSave(tree, save_args=jax.tree.map(save_args, tree))


def exists(workdir: Path) -> bool:
    """Whether a workdir has a complete checkpoint."""
    if not (workdir / _FOLDER).is_dir():
        return False
    with _open(workdir) as manager:
        return bool(manager.all_steps())


def read_meta(workdir: str | Path, *, step: int | None = None) -> dict[str, Any]:
    """What a checkpoint says about itself: `step`, `stage`, `config`, `provenance`.

    Args:
        workdir: A training workdir.
        step: Which checkpoint; the newest when None.

    Raises:
        UserError: When the workdir has no (such) checkpoint.
    """
    with _open(workdir) as manager:
        step = _existing_step(manager, workdir, step)
        return manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta


def open_params(
    workdir: str | Path, *, item: str = "ema_params", step: int | None = None
) -> tuple[Params, dict[str, Any]]:
    """Trained parameters as `LazyArray`, of which none is read yet, with the checkpoint's `meta`.

    Args:
        workdir: A training workdir.
        item: "ema_params" (the averaged weights) or "params".
        step: Which checkpoint; the newest when None.

    Returns:
        A dict from module name (`transformer`, or `structure` and `identity`) to its parameters; and `meta`.

    Raises:
        UserError: When the workdir has no (such) checkpoint, or it is damaged; also when a part is read that is.
    """
    meta = read_meta(workdir, step=step)
    params = open_item(item_path(workdir, item=item, step=meta["step"]))
    return {name: nnx.restore_int_paths(module) for name, module in params.items()}, meta


def item_path(workdir: str | Path, *, item: str = "ema_params", step: int | None = None) -> Path:
    """The folder of one item of a checkpoint, to be read piece by piece.

    Args:
        workdir: A training workdir.
        item: "ema_params" (the averaged weights) or "params".
        step: Which checkpoint; the newest when None.

    Raises:
        UserError: When the workdir has no (such) checkpoint.
    """
    with _open(workdir) as manager:
        return Path(workdir) / _FOLDER / str(_existing_step(manager, workdir, step)) / item


def _open(workdir: str | Path) -> ocp.CheckpointManager:
    path = Path(workdir).absolute() / _FOLDER
    if not path.is_dir():
        if is_diffusers(path.parent):
            raise UserError(
                f"{workdir} is a folder of diffusers, no checkpoint: import it with python -m sr_jax.convert import "
                f"--source {workdir} --output MODEL, and name MODEL instead"
            )
        raise UserError(
            f"{workdir} holds no checkpoints: name the workdir of a training run, or a model that was imported with "
            "python -m sr_jax.convert import"
        )
    # Each process reads by itself: it must not wait for others that may never come to read.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"reader{jax.process_index()}",
    )
    options = ocp.CheckpointManagerOptions(create=False, multiprocessing_options=alone)
    return ocp.CheckpointManager(path, options=options, item_handlers={"meta": ocp.JsonCheckpointHandler()})


def _existing_step(manager: ocp.CheckpointManager, workdir: str | Path, step: int | None) -> int:
    steps = manager.all_steps()
    if not steps:
        raise UserError(f"{workdir} has no complete checkpoint yet: let its training run reach one")
    if step is not None and step not in steps:
        raise UserError(f"{workdir} has no checkpoint at step {step}: there are {', '.join(map(str, sorted(steps)))}")
    return max(steps) if step is None else step

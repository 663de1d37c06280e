"""Saves parameters, average, optimizer and step together or not at all, with Orbax; see `checkpoints.reading`.

Arrays are restored onto whatever mesh there is, and the position in the data is the step.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from sr_jax.checkpoints.reading import FOLDER
from sr_jax.parallel.stored import save_args
from sr_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints of one workdir. Saving is asynchronous and atomic; a killed save leaves the one before it."""

    def __init__(self, workdir: Path, *, save_every: int, keep: int):
        """Opens the workdir's checkpoints; `keep` is how many of the newest stay on disk."""
        options = ocp.CheckpointManagerOptions(save_interval_steps=save_every, max_to_keep=keep)
        self._manager = ocp.CheckpointManager(workdir.absolute() / FOLDER, options=options)

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

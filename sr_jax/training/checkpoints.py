"""Saves parameters, average, optimizer and step together or not at all, with Orbax; see `checkpoints.reading`.

Arrays are restored onto whatever mesh there is (`restoring.py`), and the position in the data is the step.
"""

import functools
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sr_jax.checkpoints.reading import FOLDER
from sr_jax.errors import DivergedError
from sr_jax.parallel import processes
from sr_jax.parallel.stored import save_args
from sr_jax.training.best import BestCheckpoint
from sr_jax.training.hooks import Taken
from sr_jax.training.state import TrainState

# What is taken from a complete checkpoint's name is removed from here: a kill leaves no half of one under that name.
_REMOVED = "removed"
_TREES = ("params", "ema_params", "opt_state", "running")
# Of several processes one that cannot write makes the others wait so long, and as much later than another may one be
# done with its share.
_SECONDS_TO_MEET = 600
_HOST_MEMORY = "pinned_host"
_LAST_TRIES = 3
_SECONDS_BETWEEN_TRIES = 5.0


class _Copy(NamedTuple):
    """What is to be saved, in the host's memory."""

    step: int
    items: dict[str, Any]
    is_finite: jax.Array
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints of one workdir.

    Saving is asynchronous and atomic; a killed save leaves the ones before it. One that fails (a full disk, a bucket
    that is away) is told, and tried again while training goes on.

    Args:
        workdir: The workdir.
        every_steps: A checkpoint is due at the multiples of this,
        every_minutes: and when the newest is so old; 0: by steps alone.
        keep: How many of the newest stay on disk,
        keep_every: and those at the multiples of this; 0: no others.
        best: The best one by a metric is kept, too, and due where it is measured; None: there is no metric.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        every_steps: int,
        every_minutes: float,
        keep: int,
        keep_every: int,
        best: BestCheckpoint | None = None,
    ):
        self._folder = workdir.absolute() / FOLDER
        self._every_steps, self._every_seconds = every_steps, 60.0 * every_minutes
        policies: list[Any] = [checkpoint_managers.preservation_policy.LatestN(keep)]
        if keep_every:
            policies.append(checkpoint_managers.preservation_policy.EveryNSteps(keep_every))
        if best:
            policies.append(best)
        self._policy = checkpoint_managers.preservation_policy.AnyPreservationPolicy(policies)
        self._best, self._is_finite = best, jax.jit(_is_finite)
        self._copy: _Copy | None = None
        self._saving: int | None = None
        self._due, self._not_before, self._saved_at = False, 0, time.monotonic()
        self._manager = self._open()
        self._cleaner = self._empty_removed()

    def is_due(self, step: int, *, meeting: bool) -> bool:
        """Whether a checkpoint is to be saved after `step`: once one is due, until one is saved.

        The first is due after the first step.

        Args:
            step: The step; to be asked for each.
            meeting: Whether all processes ask now and may wait for each other. The age of the newest checkpoint, and
                whether the one under way has failed, are looked at only then.
        """
        if meeting:
            self._look_after(step)
        self._due |= step % self._every_steps == 0 or (self._saving is None and self.newest() is None)
        if meeting and self._every_seconds and not self._due:
            # One clock for all.
            self._due = bool(processes.votes(time.monotonic() - self._saved_at >= self._every_seconds)[0])
        return self._due and step >= self._not_before

    def note(self, step: int, taken: Taken) -> None:
        """Notes what was measured after `step`; a checkpoint is due when that is better than all that are saved."""
        if self._best and taken:
            # One opinion for all: what each has read of earlier checkpoints may differ.
            self._due |= bool(processes.votes(self._best.improves(step, taken, self._manager.all_steps()))[0])

    def best(self) -> int | None:
        """The step of the best checkpoint by the metric that was given; None when there is none."""
        return self._best.best(self._manager.all_steps()) if self._best else None

    def copy(self, step: int, state: TrainState, meta: dict[str, Any]) -> None:
        """Begins to copy what is to be saved of `step` to the host, so that the next step may be given its arrays.

        While that step is computed, `save_copy` has the time that it takes to begin. The host holds the state twice
        until it is written: this copy, and what Orbax makes of it.
        """
        items = {"params": state.params, "ema_params": state.ema_params, "opt_state": state.opt_state}
        # Orbax saves no tree without leaves.
        items |= {"running": state.running} if state.running else {}
        on_host = jax.tree.map(lambda array: array.sharding.with_memory_kind(_HOST_MEMORY), items)
        self._copy = _Copy(step, jax.device_put(items, on_host), self._is_finite(state), meta)
        self._due = False

    @property
    def has_copy(self) -> bool:
        """Whether a copy waits for `save_copy`."""
        return self._copy is not None

    def save_copy(self) -> None:
        """Begins to save what was copied, once the save before it is done.

        Raises:
            DivergedError: When there is a number in it that is not finite.
        """
        copy, self._copy = self._copy, None
        assert copy is not None
        self._settle(copy.step)
        self._cleaner.join()
        if not copy.is_finite:
            raise DivergedError(
                f"training has diverged: not all numbers in its state are finite after step {copy.step}"
            )
        saved = {name: _save(tree) for name, tree in copy.items.items()}
        args = ocp.args.Composite(**saved, meta=ocp.args.JsonSave(copy.meta | {"step": copy.step}))
        self._saving, self._saved_at = copy.step, time.monotonic()
        try:
            self._manager.save(copy.step, args=args, force=True)
        # Whatever keeps one checkpoint from being saved must not end training.
        except Exception as error:
            self._settle(copy.step, error)

    def save(self, step: int, state: TrainState, meta: dict[str, Any]) -> None:
        """Both, where no step waits to be computed."""
        self.copy(step, state, meta)
        self.save_copy()

    def save_last(self, step: int, state: TrainState, meta: dict[str, Any]) -> bool:
        """Saves `step`, unless that is done, and waits for it; tries again for some seconds. Whether it is saved."""
        for left in reversed(range(_LAST_TRIES)):
            self._settle(step)
            if self.newest() == step:
                return True
            self.save(step, state, meta)
            self._settle(step)
            if self.newest() == step:
                return True
            if left:
                time.sleep(_SECONDS_BETWEEN_TRIES)
        return False

    def newest(self) -> int | None:
        """The newest checkpoint that is complete, or under way; None when there is none."""
        return self._manager.latest_step()

    def wait(self) -> None:
        """Waits for the save under way, whatever becomes of it."""
        if self._saving is not None:
            self._settle(self._saving)

    def close(self) -> None:
        """The same, and closes the folder."""
        self.wait()
        self._cleaner.join()
        self._manager.close()

    def _look_after(self, step: int) -> None:
        """Tells of the save under way when it has failed; does not wait for it."""
        if self._saving is not None and not processes.votes(self._manager.is_saving_in_progress()).any():
            self._settle(step)

    def _settle(self, step: int, problem: Exception | None = None) -> None:
        """Waits for the save under way, and tells when it has failed in any process."""
        if self._saving is None:
            return
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            problem = problem or error
        saving, self._saving = self._saving, None
        failed = processes.votes(problem is not None)
        if not failed.any():
            self._cleaner = self._empty_removed()
            return
        # Soon, but not at every step, and at the same one in all processes.
        self._due, self._not_before = True, step + max(1, self._every_steps // 10)
        reason = f"{type(problem).__name__}: {_short(problem)}" if problem else f"process {failed.argmax()} says why"
        logging.warning(
            "the checkpoint of step %d could not be saved (%s): the ones before it stay, training goes on, and tries "
            "again from step %d",
            saving,
            reason,
            self._not_before,
        )
        # What was written of it takes up the disk until the folder is opened again.
        self._close_failed()
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._policy,
            cleanup_tmp_directories=True,
            todelete_subdir=_REMOVED,
            async_options=ocp.options.AsyncOptions(timeout_secs=_SECONDS_TO_MEET),
        )
        return ocp.CheckpointManager(self._folder, options=options, item_handlers=_item_handlers())

    def _close_failed(self) -> None:
        try:
            self._manager.close()
        except Exception as error:
            logging.debug("closed after a failed save: %s", error)

    def _empty_removed(self) -> threading.Thread:
        """Begins to remove what was taken out of the way; to be joined before a save, which adds to it."""
        removed = list((self._folder / _REMOVED).glob("*")) if jax.process_index() == 0 else []

        def remove() -> None:
            for path in removed:
                shutil.rmtree(path, ignore_errors=True)

        cleaner = threading.Thread(target=remove, name="checkpoint_cleaner")
        cleaner.start()
        return cleaner


def _is_finite(state: TrainState) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]))


def _item_handlers() -> dict[str, ocp.CheckpointHandler]:
    """Orbax's handlers, told to do less while training goes on.

    To compress numbers takes as long as to write them, and saves a tenth of their bytes; where arrays lay, and in what
    pieces, nobody asks: they are restored to wherever they are wanted.
    """
    arrays = ocp.type_handlers.ArrayHandler(enable_write_sharding_file=False)
    registry = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
    tree = functools.partial(ocp.PyTreeCheckpointHandler, use_compression=False, type_handler_registry=registry)
    return {name: tree() for name in _TREES} | {"meta": ocp.JsonCheckpointHandler()}


def _save(tree: Any) -> ocp.args.PyTreeSave:
    return ocp.args.PyTreeSave(tree, save_args=jax.tree.map(save_args, tree))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

"""The training loop: batches from Grain, one jitted step, logs, checkpoints; never more than two steps in flight."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections

from sr_jax.checkpoints.logs import SKIPPED_FILE
from sr_jax.data.pipeline import TrainBatches
from sr_jax.errors import DivergedError, PreemptedError, UserError
from sr_jax.models.functional import Params
from sr_jax.parallel import processes
from sr_jax.parallel.batches import to_global
from sr_jax.training.best import BestCheckpoint
from sr_jax.training.checkpoints import Checkpoints
from sr_jax.training.hooks import TAKEN, Hook, Pauses, Taken, directions_of
from sr_jax.training.logs import MetricLog
from sr_jax.training.profiles import StepProfile
from sr_jax.training.program import Program
from sr_jax.training.results import StepResults
from sr_jax.training.speed import Speedometer
from sr_jax.training.state import SKIPPED, TrainState
from sr_jax.training.trackers import OpenTracker
from sr_jax.training.watchdog import Watchdog
from sr_jax.training.window import MetricWindow


def run_steps(
    config: ml_collections.ConfigDict,
    workdir: Path,
    state: TrainState,
    *,
    program: Program,
    data: TrainBatches,
    frozen: Params,
    meta: dict[str, Any],
    stop: processes.StopRequests,
    watchdog: Watchdog,
    hooks: Sequence[Hook] = (),
    taken: Taken | None = None,
    trackers: Sequence[OpenTracker] = (),
) -> TrainState:
    """Goes from `state` to the last step, or to the one after which the run is told to stop, and saves it.

    Args:
        config: See `configs/`.
        workdir: Folder for checkpoints and logs.
        state: Where to begin; its arrays are given away.
        program: The run's program.
        data: This process's batches, from the one behind `state` on.
        frozen: What the loss reads (`builders.load_frozen`), on the mesh.
        meta: What checkpoints say about themselves.
        stop: Whether the run is told to stop.
        watchdog: What notices that a step hangs.
        hooks: What runs in its pauses.
        taken: What of that ran at the step of `state` already, before the run was started again.
        trackers: Where metrics go beside TensorBoard.

    Raises:
        UserError: When the last step cannot be saved, or too many records are damaged.
        PreemptedError: When it was told to stop.
        DivergedError: When too many steps in a row were skipped.
    """
    first_step, last_step = int(state.step), config.num_train_steps
    with processes.agreed():
        log = MetricLog(
            workdir,
            first_step=first_step,
            num_steps=last_step,
            enabled=jax.process_index() == 0,
            trackers=trackers,
        )
    saved = Checkpoints(
        workdir,
        every_steps=config.checkpoint_every,
        every_minutes=config.checkpoint_minutes,
        keep=config.keep_checkpoints,
        keep_every=config.keep_checkpoints_every,
        best=_best(config.keep_best, hooks, workdir),
    )
    window = MetricWindow(Speedometer(program.stage, program.mesh.devices.flatten().tolist()))
    results = StepResults(
        most_skipped=config.max_skipped_steps, on_skipped=lambda step: log.skip(step, data.clip_ids(step))
    )
    profile = StepProfile(workdir, **config.profile)
    pauses = Pauses(hooks, log=log, watchdog=watchdog, last_step=last_step)
    taken = taken or {}
    compiled: set[tuple[tuple[int, ...], ...]] = set()
    step = first_step
    stop.begin()
    closing = [contextlib.closing(thing) for thing in (log, saved, profile)]
    with closing[0], closing[1], closing[2], _naming_checkpoint(saved, workdir):
        if first_step < last_step:
            taken = pauses.take(first_step, state, taken)
        for step in range(first_step + 1, last_step + 1):
            if compiled:
                watchdog.expect_step(step)
            profile.before(step)
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                batch = to_global(next(data), config.batch_size, program.mesh)
                shapes = tuple(array.shape for array in batch.values())
                if shapes not in compiled:
                    watchdog.expect_slow(f"compiling step {step}")
                    compiled.add(shapes)
                state, metrics = program.train_step(state, frozen, batch)
                if saved.has_copy:
                    # While the step is computed.
                    watchdog.expect_slow(f"saving step {step - 1}")
                    saved.save_copy()
                    watchdog.expect_step(step)
            profile.after(step, metrics)
            window.add(metrics, batch)
            log.advance()
            results.add(step, metrics[SKIPPED].total)
            last = stop.reached(step) or step == last_step
            line = last or step % config.log_every == 0
            if line:
                with processes.agreed():
                    data.require_few_damaged()
                results.last_is_good()
                log.write(step, window.close())
            taken = {}
            # A run that is told to stop has little time, and is looked at when it goes on.
            if pauses.due(step) and (step == last_step or not last):
                results.last_is_good()
                with window.paused():
                    taken = pauses.take(step, state, {})
            saved.note(step, taken)
            # Several processes wait for each other where they wait for the devices anyway.
            due = saved.is_due(step, meeting=line or jax.process_count() == 1)
            if last:
                break
            # After steps that were skipped it would take the place of a checkpoint from which a run can go on.
            if due and results.last_is_good():
                saved.copy(step, state, meta | {TAKEN: taken})
        watchdog.expect_slow(f"saving step {step}")
        results.last_is_good()
        is_saved = saved.save_last(step, state, meta | {TAKEN: taken})
        if (best := saved.best()) is not None and jax.process_index() == 0:
            logging.info("the checkpoint of step %d is the best by %s", best, config.keep_best)
        if step < last_step:
            where = f"is saved in {workdir}" if is_saved else f"could not be saved in {workdir}, {_goes_on(saved)}"
            raise PreemptedError(f"told to stop: step {step} of {last_step} {where}, run the same again")
        if not is_saved:
            raise UserError(
                f"step {step}, the last one, could not be saved in {workdir}, {_goes_on(saved)}: make room, and run "
                "the same again"
            )
    return state


def _best(metric: str, hooks: Sequence[Hook], workdir: Path) -> BestCheckpoint | None:
    return BestCheckpoint(metric, directions_of(hooks)[metric], workdir) if metric else None


@contextlib.contextmanager
def _naming_checkpoint(saved: Checkpoints, workdir: Path) -> Iterator[None]:
    """Says of a run that has diverged where it can go on."""
    try:
        yield
    except DivergedError as error:
        saved.wait()
        raise DivergedError(
            f"{error}: {_goes_on(saved)} of {workdir}, for example with a lower learning rate or without the clips "
            f"that its {SKIPPED_FILE} names"
        ) from error


def _goes_on(saved: Checkpoints) -> str:
    newest = saved.newest()
    return "it can only start anew" if newest is None else f"it can go on from the checkpoint of step {newest}"

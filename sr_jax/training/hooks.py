"""What runs in the pauses of training: held-out losses, sample clips, and whatever a command adds.

The loop knows no more of a hook than this protocol. A command names functions that make hooks (`loop.train`).
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import ml_collections

from sr_jax.errors import UserError
from sr_jax.media.video import Video
from sr_jax.models.functional import Params
from sr_jax.training.logs import MetricLog
from sr_jax.training.program import Program
from sr_jax.training.state import TrainState
from sr_jax.training.watchdog import Watchdog


@runtime_checkable
class Hook(Protocol):
    """Something that looks at a run every so many steps, and changes nothing of it.

    Attributes:
        name: What the log calls it.
        every_steps: It is due before the first step, at the multiples of this, and after the last step.
        directions: Those of its metrics by which checkpoints may be compared: 1 where more is better, -1 where less is.
    """

    name: str
    every_steps: int
    directions: Mapping[str, int]

    def __call__(self, step: int, state: TrainState) -> Mapping[str, float | Video]:
        """Looks at the state after a step; all processes call it, and may wait for each other in it.

        Args:
            step: Number of the step; 0 before the first.
            state: Its arrays are the run's: they are given away after the call.

        Returns:
            Numbers for the log by flat name, the same in all processes; and clips, of which the first process's count.
        """
        ...


@dataclasses.dataclass(frozen=True)
class RunParts:
    """What a hook is made of.

    Attributes:
        config: See `configs/`.
        program: The run's program.
        frozen: What the loss reads and never changes, on the mesh.
    """

    config: ml_collections.ConfigDict
    program: Program
    frozen: Params


MakeHook = Callable[[RunParts], Hook | None]
"""Makes a hook of a run, None where its config asks for none; raises `UserError` for what does not fit."""


TAKEN = "hooks"
"""In a checkpoint's `meta`: the hooks that ran at its step, and the values by which checkpoints may be compared."""

Taken = Mapping[str, Mapping[str, float]]
"""Of each hook that ran at a step the values by which checkpoints may be compared."""


def directions_of(hooks: Sequence[Hook]) -> dict[str, int]:
    """The metrics of all hooks by which checkpoints may be compared."""
    return {name: direction for hook in hooks for name, direction in hook.directions.items()}


def require_metric(name: str, hooks: Sequence[Hook]) -> None:
    """Checks that `config.keep_best` names a metric by which checkpoints may be compared, or none.

    Raises:
        UserError: With those there are.
    """
    known = directions_of(hooks)
    if name and name not in known:
        choices = f"choose one of {', '.join(known)}" if known else "nothing is measured (see config.heldout)"
        raise UserError(f"config.keep_best is {name!r}: {choices}, or leave it empty")


class Pauses:
    """The pauses of a run, in which its hooks are called.

    Args:
        hooks: The hooks.
        log: Where what they find goes.
        watchdog: Told of each pause.
        last_step: Of the run.
    """

    def __init__(self, hooks: Sequence[Hook], *, log: MetricLog, watchdog: Watchdog, last_step: int):
        self._hooks, self._log, self._watchdog, self._last_step = hooks, log, watchdog, last_step

    def due(self, step: int) -> bool:
        """Whether any hook is due after a step."""
        return any(self._is_due(hook, step) for hook in self._hooks)

    def take(self, step: int, state: TrainState, before: Taken) -> Taken:
        """Calls the hooks that are due after a step, which the devices must be done with, and logs what they find.

        Args:
            step: The step.
            state: Its state.
            before: Those that ran at this step before the run was started again.

        Returns:
            What a checkpoint of this step says, with `before`.
        """
        taken = dict(before)
        for hook in self._hooks:
            if hook.name not in before and self._is_due(hook, step):
                self._watchdog.expect_slow(f"{hook.name} after step {step}")
                began = time.monotonic()
                found = hook(step, state)
                values = {name: value for name, value in found.items() if not isinstance(value, Video)}
                self._log.write(step, values | {f"{hook.name}/seconds": round(time.monotonic() - began, 3)})
                self._log.show(step, {name: video for name, video in found.items() if isinstance(video, Video)})
                taken[hook.name] = {name: values[name] for name in hook.directions if name in values}
        return taken

    def _is_due(self, hook: Hook, step: int) -> bool:
        return step % hook.every_steps == 0 or step == self._last_step

"""The checkpoint that is best by a metric: saved when that is measured, and kept until there is a better one."""

import contextlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sr_jax.checkpoints.reading import all_steps, exists, read_meta
from sr_jax.errors import UserError
from sr_jax.training.hooks import TAKEN, Taken


class BestCheckpoint:
    """Preserves the checkpoint with the best value (a preservation policy of Orbax); of equal ones the first.

    Args:
        metric: What is compared.
        direction: 1 when more is better, -1 when less is.
        workdir: Whose checkpoints there are already.
    """

    def __init__(self, metric: str, direction: int, workdir: Path):
        self._metric, self._direction = metric, direction
        self._values: dict[int, float] = {}
        for step in all_steps(workdir) if exists(workdir) else ():
            # One that is damaged is no candidate.
            with contextlib.suppress(UserError):
                self._note(step, read_meta(workdir, step=step).get(TAKEN, {}))

    def improves(self, step: int, taken: Taken, saved: Iterable[int]) -> bool:
        """Notes what was measured after a step; whether it is better than at all steps that are saved.

        Args:
            step: The step.
            taken: What the hooks measured.
            saved: Steps with a checkpoint.
        """
        best = self.best(saved)
        self._note(step, taken)
        return step in self._values and (best is None or self._rank(step) > self._rank(best))

    def best(self, steps: Iterable[int]) -> int | None:
        """The step with the best value of some steps; None where nothing was measured."""
        return max(filter(self._values.__contains__, steps), key=self._rank, default=None)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Which checkpoints stay, as Orbax asks (`preservation_policy.PreservationPolicy`): one at most."""
        best = self.best(info.step for info in checkpoints)
        return [info.step == best for info in checkpoints]

    def _note(self, step: int, taken: Taken) -> None:
        for values in taken.values():
            if math.isfinite(values.get(self._metric, math.nan)):
                self._values[step] = values[self._metric]

    def _rank(self, step: int) -> tuple[float, int]:
        return self._direction * self._values[step], -step

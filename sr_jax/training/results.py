"""What the host knows of each step: whether it was skipped, and that no more than two are under way."""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from sr_jax.errors import DivergedError


class StepResults:
    """Waits for the steps, one behind, and gives up when too many in a row were skipped.

    Without waiting the host would run ahead of the devices for as long as nobody reads a metric, and a run that is told
    to stop would have to finish all of that first.

    Args:
        most_skipped: How many steps in a row may be skipped.
        on_skipped: Called with the number of each step that was.
    """

    def __init__(self, *, most_skipped: int, on_skipped: Callable[[int], None]):
        self._most_skipped, self._on_skipped = most_skipped, on_skipped
        self._unseen: deque[tuple[int, Any]] = deque()
        self._in_a_row = 0

    def add(self, step: int, skipped: Any) -> None:
        """Takes what a step that was just begun will say, and waits for the one before it.

        Args:
            step: Its number.
            skipped: Array of no axes, 1 when it was skipped and 0 when not.

        Raises:
            DivergedError: As `last_is_good`.
        """
        self._unseen.append((step, skipped))
        while len(self._unseen) > 1:
            self._see(*self._unseen.popleft())

    def last_is_good(self) -> bool:
        """Waits for all steps; whether the last one was not skipped.

        Raises:
            DivergedError: When too many in a row were skipped.
        """
        while self._unseen:
            self._see(*self._unseen.popleft())
        return self._in_a_row == 0

    def _see(self, step: int, skipped: Any) -> None:
        if not np.asarray(skipped):
            self._in_a_row = 0
            return
        self._in_a_row += 1
        self._on_skipped(step)
        if self._in_a_row > self._most_skipped:
            raise DivergedError(
                f"training has diverged: the loss or its gradient was not finite in {self._in_a_row} steps in a row, "
                f"up to step {step}"
            )

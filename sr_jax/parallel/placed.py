"""Weights that are on devices only while they are used."""

from collections.abc import Callable
from typing import Any

import jax


class Placed:
    """Weights that are put onto devices at their first use, and again at the first one after they were released.

    They are read anew from wherever they lie (`LazyArray`: files), so that host memory keeps none of what does.

    Args:
        source: Tree of arrays of any kind.
        place: Puts such a tree onto devices.
    """

    def __init__(self, source: Any, place: Callable[[Any], Any]):
        self.source, self._place = source, place
        self._placed: Any = None

    @property
    def tree(self) -> Any:
        """The weights, on their devices."""
        if self._placed is None:
            # Even where a function is traced that uses them: what is placed outlives the trace.
            with jax.ensure_compile_time_eval():
                self._placed = self._place(self.source)
        return self._placed

    def release(self) -> None:
        """Frees the devices' memory, once nothing else holds the weights."""
        self._placed = None

"""Records of several parts as one sequence: what a dataset held at first, and what was added to it."""

import bisect
import itertools
import operator
from collections.abc import Iterator, Sequence
from typing import Any, SupportsIndex

from sr_jax.data.record_files import RecordFile


def joined(parts: Sequence[Any]) -> Any:
    """The records of all parts (sequences of them), one part behind the other; a single part is itself."""
    return parts[0] if len(parts) == 1 else Joined(parts)


class Joined(Sequence):
    """The records of several parts, one part behind the other. Can be pickled if they can.

    Attributes:
        parts: The parts.
    """

    def __init__(self, parts: Sequence[Any]):
        self.parts = parts
        self._ends = list(itertools.accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        # As of a list: an index below 0 counts from the end.
        place = range(len(self))[operator.index(index)]
        number = bisect.bisect_right(self._ends, place)
        return self.parts[number][place - (self._ends[number - 1] if number else 0)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return itertools.chain.from_iterable(self.parts)

    def files(self) -> list[RecordFile]:
        """The files behind them, in order, each opened once.

        Raises:
            OSError: When their storage cannot be read.
        """
        return [file for part in self.parts for file in part.files()]

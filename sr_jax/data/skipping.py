"""Skipping damaged records: which are, what stands in their places, and when there are too many."""

import itertools
import logging
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any, SupportsIndex

from sr_jax.data.joined import Joined
from sr_jax.data.record_files import DamagedRecordError, RecordFile, Records
from sr_jax.errors import UserError


class WithoutDamaged(Sequence):
    """The records of one split of a folder, with another one in the place of each that is damaged.

    Which one depends on nothing but which are damaged, so that all processes of a run, and those that resume it, read
    the same.

    Attributes:
        files: The files behind them.
        damaged: Numbers of the records that are known to be damaged.
    """

    def __init__(self, records: Records | Joined):
        """Opens every file, and names those that are damaged as a whole.

        Raises:
            UserError: When that is every one.
        """
        self._records = records
        self._lock = threading.Lock()
        self.files: list[RecordFile] = records.files()
        self.damaged: set[int] = set()
        for file, end in zip(self.files, itertools.accumulate(file.records for file in self.files), strict=True):
            if not file.end_hash:
                self.damaged |= set(range(end - file.records, end))
                logging.warning("skipping all %d records of %s: the file is damaged or gone", file.records, file.path)
        if len(self.damaged) == len(self):
            raise self._all_damaged()

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """The record, or what stands in its place.

        Raises:
            UserError: When every record is damaged.
        """
        for number in _stand_ins(range(len(self))[index], len(self)):
            if number not in self.damaged:
                try:
                    return self._records[number]
                except DamagedRecordError as error:
                    self._note(number, error)
        raise self._all_damaged()

    def _all_damaged(self) -> UserError:
        return UserError(
            f"all {len(self)} records in {self.files[0].path.parent} are damaged: copy or prepare them again"
        )

    def _note(self, number: int, error: DamagedRecordError) -> None:
        with self._lock:
            # Threads may come upon the same one.
            if number not in self.damaged:
                self.damaged.add(number)
                logging.warning("skipping %s: %d of %d clips there", error, len(self.damaged), len(self))


def _stand_ins(number: int, count: int) -> Iterator[int]:
    """The record, and then every other one, in an order in which neighbours have different successors.

    The records of a damaged file are next to each other: the next whole record would stand for all of them.
    """
    step = next(step for step in itertools.count(round(0.618 * count) or 1) if math.gcd(step, count) == 1)
    return ((number + i * step) % count for i in range(count))


def require_few(sources: Sequence[WithoutDamaged], max_damaged: float) -> None:
    """Checks that at most a part of all records is known to be damaged.

    Args:
        sources: Records of one split.
        max_damaged: The part of them, 0 to 1.

    Raises:
        UserError: When there are more.
    """
    damaged, total = sum(len(source.damaged) for source in sources), sum(map(len, sources))
    if damaged > max_damaged * total:
        folders = ", ".join(str(source.files[0].path.parent) for source in sources if source.damaged)
        raise UserError(
            f"{damaged} of {total} clips are damaged, more than config.data.max_damaged={max_damaged:g} of them: "
            f"restore the files in {folders} that the log names, or prepare the videos again"
        )

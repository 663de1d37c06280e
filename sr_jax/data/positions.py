"""Where a run is in its data, counted in clips: batches may be of another size when it is resumed."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import NamedTuple

import grain

from sr_jax.data.groups import Group


@dataclasses.dataclass(frozen=True)
class Position:
    """Since when a run's batches have had their size.

    With it, a number of steps says where the run is in its data.

    Attributes:
        step: Number of steps before the first batch of this size.
        batch_size: Clips in a batch.
        clips: How many clips of each shape were read before, in the order of `groups.open_groups`.
    """

    step: int
    batch_size: int
    clips: list[int]

    def clips_read(self, step: int, groups: Sequence[Group]) -> list[int]:
        """How many clips of each shape have been read behind `step` steps.

        Args:
            step: At least `self.step`.
            groups: The records of each shape; shapes that did not fill a batch were left out.
        """
        used = [i for i, group in enumerate(groups) if group.fills(self.batch_size)]
        batches = _batches_of_each([groups[i].weight for i in used], step - self.step)
        read = list(self.clips)
        for i, count in zip(used, batches, strict=True):
            read[i] += count * self.batch_size
        return read


class _Turn(NamedTuple):
    """Which dataset of several a batch is of, and which of its batches that is."""

    dataset: int
    number: int


class _Turns:
    """Stands for a dataset of endless batches."""

    def __init__(self, dataset: int):
        self._dataset = dataset

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, number: int) -> _Turn:
        return _Turn(self._dataset, number)


def _batches_of_each(weights: Sequence[float], count: int) -> list[int]:
    """How many of the first `count` batches of a mixture are of each dataset, by their weights.

    The same mixture is asked for the last batch of each, from behind: within one round all have had their turn.
    """
    if len(weights) == 1:
        return [count]
    turns = grain.MapDataset.mix([grain.MapDataset.source(_Turns(i)) for i in range(len(weights))], weights=weights)
    found: dict[int, int] = {}
    for turn in (turns[i] for i in range(count - 1, -1, -1)):
        found.setdefault(turn.dataset, turn.number + 1)
        if len(found) == len(weights):
            break
    return [found.get(i, 0) for i in range(len(weights))]

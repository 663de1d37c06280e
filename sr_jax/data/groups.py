"""Records by their shapes: clips of one shape make batches, whichever datasets they are of."""

import dataclasses
import logging
from collections.abc import Collection
from pathlib import Path

from sr_jax.data import builder
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.mixture import Mixture
from sr_jax.data.record_files import RecordFile
from sr_jax.data.skipping import WithoutDamaged
from sr_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Part:
    """The records of one shape in one dataset.

    Attributes:
        folder: Where they lie, one of `builder.dataset_folders`.
        records: The records.
        factor: How often each comes, in proportion to those of other parts (`Mixture.factors`).
    """

    folder: Path
    records: WithoutDamaged
    factor: float = 1.0

    @property
    def weight(self) -> float:
        """How many clips it counts as."""
        return len(self.records) * self.factor


@dataclasses.dataclass(frozen=True)
class Group:
    """The records of one shape in all datasets."""

    parts: list[Part]

    def __len__(self) -> int:
        return sum(len(part.records) for part in self.parts)

    @property
    def weight(self) -> float:
        """How many clips it counts as."""
        return sum(part.weight for part in self.parts)

    def fills(self, batch_size: int) -> bool:
        """Whether there are, or count, as many clips as a batch has."""
        return max(len(self), self.weight) >= batch_size

    @property
    def files(self) -> list[RecordFile]:
        """The files behind the records."""
        return [file for part in self.parts for file in part.records.files]

    def described(self) -> str:
        """Its folders and clips in words."""
        folders = " and ".join(str(part.folder) for part in self.parts)
        counted = "" if self.weight == len(self) else f" that count as {self.weight:g}"
        return f"{folders} has {len(self)} clips{counted}"


def open_groups(mixture: Mixture, split: str, fields: Collection[str]) -> list[Group]:
    """The records of a split of all datasets, by their shapes, in the order in which the datasets have these.

    Args:
        mixture: The datasets.
        split: Which split.
        fields: What is read of the records.

    Raises:
        UserError: When there is no dataset in a folder, or it has no such split or field.
    """
    opened = [builder.open_sizes(folder, split, fields) for folder in mixture.folders]
    factors = mixture.factors([sum(map(len, sources.values())) for sources in opened])
    groups: dict[tuple, Group] = {}
    for sources, factor in zip(opened, factors, strict=True):
        for folder, records in sources.items():
            shapes = builder.read_spec(folder).array_shapes()
            key = tuple(sorted((name, shapes[name]) for name in shapes.keys() & {*CORE_FIELDS, *fields}))
            groups.setdefault(key, Group([])).parts.append(Part(folder, WithoutDamaged(records), factor))
    return list(groups.values())


def require_a_batch(groups: list[Group], split: str, batch_size: int) -> None:
    """Names the groups that do not fill a batch, which are left out of training.

    Raises:
        UserError: When that is every one.
    """
    too_few = [
        f"split {split!r} of {group.described()}, fewer than one batch of {batch_size}"
        for group in groups
        if not group.fills(batch_size)
    ]
    if len(too_few) == len(groups):
        raise UserError("; ".join(too_few))
    for line in too_few:
        logging.warning("%s: they are left out", line)

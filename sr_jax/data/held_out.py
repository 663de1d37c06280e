"""The clips of a split that a run is measured on while it trains: few, always the same, by size."""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float16

from sr_jax.data import builder
from sr_jax.data.joined import Joined
from sr_jax.data.record_files import Records


@dataclasses.dataclass(frozen=True)
class HeldOutClips:
    """Clips of one size.

    Attributes:
        folder: Where their records lie, one of `builder.dataset_folders`.
        count: How many they are.
        fields: What is read of them.
        records: All of the split and size; the first `count` are these.
    """

    folder: Path
    count: int
    fields: tuple[str, ...]
    records: Records | Joined

    def read(self, numbers: Sequence[int]) -> tuple[list[str], dict[str, Float16[np.ndarray, "n ..."]]]:
        """The ids of some of the clips, and their arrays as they are stored.

        Args:
            numbers: Which clips, from 0; at least one.

        Raises:
            UserError: When a record is damaged.
        """
        records = [self.records[number] for number in numbers]
        arrays = {name: np.stack([np.asarray(record[name], np.float16) for record in records]) for name in self.fields}
        return [record["clip_id"].decode() for record in records], arrays


def held_out_clips(data_dir: Path | str, split: str, count: int, fields: Collection[str]) -> list[HeldOutClips]:
    """The first clips of a split in the dataset's own order (a hash of the `clip_id`); of several sizes in turn.

    Args:
        data_dir: Folder that `prepare` wrote.
        split: Which split.
        count: How many clips, of all sizes together; all of them where there are fewer.
        fields: What to read of them.

    Raises:
        UserError: When there is no such dataset, split or field.
    """
    sources = builder.open_sizes(data_dir, split, [*fields, "clip_id"])
    counts = dict.fromkeys(sources, 0)
    while count > sum(counts.values()) < sum(map(len, sources.values())):
        for folder, source in sources.items():
            counts[folder] += counts[folder] < len(source) and sum(counts.values()) < count
    return [
        HeldOutClips(folder, counts[folder], tuple(fields), source)
        for folder, source in sources.items()
        if counts[folder]
    ]

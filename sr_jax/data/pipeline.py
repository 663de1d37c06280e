"""From a dataset on disk to batches: Grain, shuffled, split over processes and exactly resumable."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from numpy.typing import DTypeLike

from sr_jax.data import builder
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.groups import Group, open_groups, require_a_batch
from sr_jax.data.mixture import Mixture
from sr_jax.data.positions import Position
from sr_jax.data.records import STRING_FIELDS
from sr_jax.data.skipping import require_few
from sr_jax.errors import UserError

_Read = Callable[[Mapping[str, Any]], dict[str, np.ndarray]]
"""What is made of a record."""


class TrainBatches(Iterator[dict[str, np.ndarray]]):
    """An endless iterator over global batches, or over some rows of each.

    Each item maps the fields to arrays `[len(rows), ...]`. The order is a new shuffle in each epoch and depends on the
    seed only. An epoch's end may fall inside a batch, so every clip is seen equally often. Where clips have several
    shapes, because of their sizes or their numbers of frames, each batch has one shape, and shapes come as often as
    they have clips; a shape that has fewer clips than a batch is left out. Of several datasets, clips of one shape
    share batches, each dataset with its part of them (`mixture.Mixture`), and each of its clips equally often. A
    damaged record is skipped (`skipping.WithoutDamaged`).

    The batches behind a position are the same whoever reads which rows of them, on any number of processes.

    Attributes:
        groups: The records of every shape.
        mixture: The datasets that they are of.
    """

    def __init__(
        self,
        mixture: Mixture,
        groups: Sequence[Group],
        read: _Read,
        *,
        batch_size: int,
        seed: int,
        rows: Sequence[int],
        options: grain.ReadOptions,
        max_damaged: float,
    ):
        """Begins at the first batch; the arguments are those of `train_batches`."""
        self.mixture, self.groups = mixture, groups
        self._read, self._seed, self._rows, self._options = read, seed, rows, options
        self._batch_size, self._max_damaged = batch_size, max_damaged
        self.seek(0)

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._iterator)

    def seek(self, step: int, since: Position | None = None) -> Position:
        """Goes on behind the batches of `step` steps.

        Args:
            step: Number of batches read so far.
            since: Where batches of the last size began; None: at the start of the data, with the batches of today.

        Returns:
            Where the batches of today's size began.
        """
        since = since or Position(0, self._batch_size, [0] * len(self.groups))
        if since.batch_size != self._batch_size:
            since = Position(step, self._batch_size, since.clips_read(step, self.groups))
        self._since = since
        self._iterator = iter(self._batches(self._read, self._rows).to_iter_dataset(self._options))
        self._iterator.set_state({"next_index": step - since.step})
        return since

    def clip_ids(self, step: int) -> list[str]:
        """The ids of the clips in the global batch of a step, row by row.

        Args:
            step: Number of the step, from 1; not before batches have had their size.
        """
        batches = self._batches(_ClipIds(), range(self._batch_size))
        return batches[step - 1 - self._since.step]["clip_id"].tolist()

    def _batches(self, read: _Read, rows: Sequence[int]) -> grain.MapDataset:
        """Some rows of the batches since they have had their size; each with what `read` makes of a record."""
        shapes = []
        for group, first in zip(self.groups, self._since.clips, strict=True):
            if group.fills(self._batch_size):
                clips = [
                    grain.MapDataset.source(part.records).seed(self._seed).shuffle().repeat().map(read)
                    for part in group.parts
                ]
                mixed = _mixed(clips, [part.weight for part in group.parts])
                shapes.append(grain.MapDataset.source(_Batches(mixed, self._batch_size, rows, first)))
        return _mixed(shapes, [group.weight for group in self._used])

    @property
    def _used(self) -> list[Group]:
        return [group for group in self.groups if group.fills(self._batch_size)]

    @property
    def folders(self) -> list[Path]:
        """For each shape that is trained on, where some of its records lie."""
        return [group.parts[0].folder for group in self._used]

    def described(self) -> list[str]:
        """One line for each folder that is trained on: its clips, and its part of all clips in the batches."""
        parts = [part for group in self._used for part in group.parts]
        total = sum(part.weight for part in parts)
        return [f"{part.folder}: {len(part.records)} clips, {part.weight / total:.1%} of the batches" for part in parts]

    def require_few_damaged(self) -> None:
        """Checks that not too many of the records that were read so far are damaged.

        Raises:
            UserError: When they are more than `max_damaged` of all.
        """
        require_few([part.records for group in self.groups for part in group.parts], self._max_damaged)


def train_batches(
    data: Mixture | Path | str,
    *,
    split: str = "train",
    fields: Collection[str] | None = None,
    batch_size: int,
    seed: int,
    rows: Sequence[int] | None = None,
    num_threads: int = 2,
    prefetch: int = 4,
    max_damaged: float = 0.0,
) -> TrainBatches:
    """The batches of a split, from the first on.

    Args:
        data: Folder that `prepare` wrote, or several.
        split: Which split to read.
        fields: What to read of the records, and nothing else, in float16, as they are stored. None: `CORE_FIELDS`, as
            float32.
        batch_size: Clips in a global batch, over all processes.
        seed: Seed of the shuffles.
        rows: The rows of each global batch to read, from 0; all of them when None.
        num_threads: Threads that read batches.
        prefetch: How many batches are read ahead.
        max_damaged: What part of the records may be damaged, 0 to 1.

    Raises:
        UserError: When there is no such dataset, split or field, no shape has as many clips as a batch, or too many
            files are damaged.
    """
    if batch_size < 1:
        raise UserError(f"batch size {batch_size} is not positive")
    read = _Arrays(CORE_FIELDS if fields is None else fields, np.float32 if fields is None else np.float16)
    mixture = Mixture.alone(data)
    groups = open_groups(mixture, split, [*read.fields, *_ClipIds.fields])
    require_a_batch(groups, split, batch_size)
    batches = TrainBatches(
        mixture,
        groups,
        read,
        batch_size=batch_size,
        seed=seed,
        rows=range(batch_size) if rows is None else rows,
        options=grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch),
        max_damaged=max_damaged,
    )
    batches.require_few_damaged()
    return batches


def _mixed(datasets: Sequence[grain.MapDataset], weights: Sequence[float]) -> grain.MapDataset:
    """One after another of each dataset, spread evenly, as often as its weight says."""
    return datasets[0] if len(datasets) == 1 else grain.MapDataset.mix(datasets, weights=weights)


class _Batches:
    """Random access to some rows of consecutive batches of `clips`, of which `first` were read before the first."""

    def __init__(self, clips: grain.MapDataset, batch_size: int, rows: Sequence[int], first: int):
        self._clips = clips
        self._batch_size = batch_size
        self._rows = rows
        self._first = first

    def __len__(self) -> int:
        return (len(self._clips) - self._first) // self._batch_size

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        chosen = [self._clips[self._first + number * self._batch_size + row] for row in self._rows]
        return {name: np.stack([clip[name] for clip in chosen]) for name in chosen[0]}


def eval_examples(
    data_dir: Path | str, split: str, fields: Collection[str] = tuple(CORE_FIELDS)
) -> Iterator[dict[str, Any]]:
    """All clips of a split, one at a time, in the dataset's fixed order (a hash of the `clip_id`).

    Each is a dictionary with `fields` as float32 without a batch axis, `STRING_FIELDS` as `str`, `fps` and
    `source_first_frame`; nothing else is read.

    Raises:
        UserError: When there is no such dataset, split or field.
    """
    arrays = _Arrays(fields, np.float32)

    def example(record: Mapping[str, Any]) -> dict[str, Any]:
        texts = {name: record[name].decode() for name in STRING_FIELDS}
        numbers = {"fps": float(record["fps"]), "source_first_frame": int(record["source_first_frame"])}
        return arrays(record) | texts | numbers

    return map(example, builder.open_dataset(data_dir, split, [*fields, *STRING_FIELDS, "fps", "source_first_frame"]))


class _Arrays:
    """Some arrays of a record, in a type. A class, so that Grain can name it and pickle it."""

    def __init__(self, fields: Collection[str], dtype: DTypeLike):
        self.fields, self._dtype = tuple(fields), dtype

    def __call__(self, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {name: np.asarray(record[name], self._dtype) for name in self.fields}


class _ClipIds:
    """The id of a record's clip."""

    fields = ("clip_id",)

    def __call__(self, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {"clip_id": np.asarray(record["clip_id"].decode())}

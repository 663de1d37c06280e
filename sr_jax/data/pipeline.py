"""From a dataset on disk to batches: Grain, shuffled, split over processes and exactly resumable."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from numpy.typing import DTypeLike

from sr_jax.data import builder
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.records import STRING_FIELDS
from sr_jax.errors import UserError


def train_batches(
    data_dir: Path | str,
    *,
    split: str = "train",
    fields: Collection[str] | None = None,
    batch_size: int,
    seed: int,
    rows: Sequence[int] | None = None,
    num_threads: int = 2,
    prefetch: int = 4,
) -> grain.DatasetIterator:
    """An endless iterator over global batches, or over some rows of each.

    Each item maps `fields` to float16 arrays `[len(rows), ...]`, as they are stored. The order is a new shuffle in each
    epoch and depends on `seed` only. An epoch's end may fall inside a batch, so every clip is seen equally often. Of a
    folder that holds clips of several sizes, each batch has one size, and sizes come as often as they have clips.

    The k-th batch is the same whoever reads which rows of it, and the whole position of the iterator is k:
    `set_state({"next_index": k})` continues behind k batches, on any number of processes.

    Args:
        data_dir: Folder that `prepare` wrote.
        split: Which split to read.
        fields: What to read of the records, and nothing else. None: `CORE_FIELDS`, as float32.
        batch_size: Clips in a global batch, over all processes.
        seed: Seed of the shuffles.
        rows: The rows of each global batch to read, from 0; all of them when None.
        num_threads: Threads that read batches.
        prefetch: How many batches are read ahead.

    Raises:
        UserError: When there is no such dataset, split or field, or it has fewer clips than one batch.
    """
    rows = range(batch_size) if rows is None else rows
    read = _Arrays(CORE_FIELDS if fields is None else fields, np.float32 if fields is None else np.float16)
    dataset = _batches(data_dir, split, read, batch_size, seed, rows)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    return iter(dataset.to_iter_dataset(options))


def clip_ids(data_dir: Path | str, *, split: str, batch_size: int, seed: int, number: int) -> list[str]:
    """The ids of the clips in one global batch of `train_batches`, row by row; nothing else is read of them.

    Args:
        data_dir: As there, and so are the other arguments that are not named here.
        split: Likewise.
        batch_size: Likewise.
        seed: Likewise.
        number: Of the batch, from 0.
    """
    batch = _batches(data_dir, split, _ClipIds(), batch_size, seed, range(batch_size))[number]
    return batch["clip_id"].tolist()


def _batches(
    data_dir: Path | str, split: str, read: "_Arrays | _ClipIds", batch_size: int, seed: int, rows: Sequence[int]
) -> grain.MapDataset:
    """Some rows of the endless batches that `train_batches` describes; each with what `read` makes of a record."""
    if batch_size < 1:
        raise UserError(f"batch size {batch_size} is not positive")
    sizes, clips = [], []
    for folder, source in builder.open_sizes(data_dir, split, read.fields).items():
        if len(source) < batch_size:
            raise UserError(
                f"split {split!r} of {folder} has {len(source)} clips, fewer than one batch of {batch_size}"
            )
        shuffled = grain.MapDataset.source(source).seed(seed).shuffle().repeat().map(read)
        sizes.append(grain.MapDataset.source(_Batches(shuffled, batch_size, rows)))
        clips.append(len(source))
    return sizes[0] if len(sizes) == 1 else grain.MapDataset.mix(sizes, weights=clips)


class _Batches:
    """Random access to some rows of consecutive batches of `clips`."""

    def __init__(self, clips: grain.MapDataset, batch_size: int, rows: Sequence[int]):
        self._clips = clips
        self._batch_size = batch_size
        self._rows = rows

    def __len__(self) -> int:
        return len(self._clips) // self._batch_size

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        chosen = [self._clips[number * self._batch_size + row] for row in self._rows]
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

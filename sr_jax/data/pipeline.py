"""From a dataset on disk to batches: Grain, shuffled, sharded by process and exactly resumable."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grain
import numpy as np

from sr_jax.data import builder
from sr_jax.data.records import ARRAY_FIELDS, STRING_FIELDS
from sr_jax.errors import UserError


def train_batches(
    data_dir: Path | str,
    *,
    split: str = "train",
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
    prefetch: int = 4,
) -> grain.DatasetIterator:
    """An endless iterator over this process's part of the global batches.

    Each item maps `ARRAY_FIELDS` to float32 arrays `[batch_size / process_count, ...]`. The order is a new shuffle in
    each epoch and depends on `seed` only. An epoch's end may fall inside a batch, so every clip is seen equally often.
    Of a folder that holds clips of several sizes, each batch has one size, and sizes come as often as they have clips.

    `get_state()` and `set_state()` resume exactly. The state is the number of batches given out, and the processes'
    rows of batch k are a partition of the same global batch for any `process_count`, so `set_state({"next_index": k})`
    continues a run on another number of processes.

    Args:
        data_dir: Folder that `prepare` wrote.
        split: Which split to read.
        batch_size: Clips in a global batch, over all processes.
        seed: Seed of the shuffles.
        process_index: This process, from 0.
        process_count: How many processes share each global batch.
        num_threads: Threads that read records.
        prefetch: How many records are read ahead.

    Raises:
        UserError: When there is no such dataset or split, it has fewer clips than one batch, or `batch_size` is not a
            positive multiple of `process_count`.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(f"batch size {batch_size} is not a positive multiple of the {process_count} processes")
    sizes, clips = [], []
    for folder in builder.dataset_folders(data_dir):
        source = builder.open_dataset(folder, split)
        if len(source) < batch_size:
            raise UserError(
                f"split {split!r} of {folder} has {len(source)} clips, fewer than one batch of {batch_size}"
            )
        # The processes' slice comes after `repeat`: this keeps the global batches independent of their number.
        sizes.append(
            grain.MapDataset.source(source)
            .seed(seed)
            .shuffle()
            .repeat()[process_index::process_count]
            .map(_arrays)
            .batch(batch_size // process_count, drop_remainder=True)
        )
        clips.append(len(source))
    dataset = sizes[0] if len(sizes) == 1 else grain.MapDataset.mix(sizes, weights=clips)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    return iter(dataset.to_iter_dataset(options))


def eval_examples(data_dir: Path | str, split: str) -> Iterator[dict[str, Any]]:
    """All clips of a split, one at a time, in the dataset's fixed order (a hash of the `clip_id`).

    Each is a dictionary with `ARRAY_FIELDS` as float32 without a batch axis, `STRING_FIELDS` as `str`, `fps` and
    `source_first_frame`.

    Raises:
        UserError: When there is no such dataset or split.
    """
    return map(_example, builder.open_dataset(data_dir, split))


def _example(record: Mapping[str, Any]) -> dict[str, Any]:
    return _arrays(record) | {
        **{name: record[name].decode() for name in STRING_FIELDS},
        "fps": float(record["fps"]),
        "source_first_frame": int(record["source_first_frame"]),
    }


def _arrays(record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(record[name], np.float32) for name in ARRAY_FIELDS}

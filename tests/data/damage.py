"""Damage to the record files of a dataset, as disks, copies and networks do it."""

from pathlib import Path

import tensorflow_datasets as tfds

from sr_jax.data.builder import dataset_folders
from tests.data.synthetic import write_synthetic_dataset


def write_in_files(path: Path, monkeypatch, count: int, **options) -> list[Path]:
    """Writes a synthetic dataset (`write_synthetic_dataset`) whose records are in `count` files, and returns these."""
    with monkeypatch.context() as patch:
        config = tfds.core.utils.shard_utils.ShardConfig
        patch.setattr(config, "get_number_shards", lambda *_, **__: count)
        write_synthetic_dataset(path, **options)
    return record_files(path)


def record_files(data_dir: Path, split: str = "train") -> list[Path]:
    """The record files of a split, in order."""
    return [path for folder in dataset_folders(data_dir) for path in sorted(folder.rglob(f"*-{split}.array_record-*"))]


def flip(path: Path, *parts: float) -> None:
    """Changes a byte in some places of a file's records, between the first (0) and the last (1)."""
    data = bytearray(path.read_bytes())
    # Behind the records are zeros up to a block of 64 KiB, which says where the index is.
    end = len(data[: -(2**16)].rstrip(b"\0"))
    for part in parts:
        data[int(part * end)] ^= 0xFF
    path.write_bytes(data)


def truncate(path: Path, part: float) -> None:
    """Cuts a file off."""
    with path.open("r+b") as file:
        file.truncate(int(part * path.stat().st_size))

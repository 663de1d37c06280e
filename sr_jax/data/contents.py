"""What is in a dataset, told at a glance, so that one that was moved is known, and one that was changed too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sr_jax.data import builder
from sr_jax.data.skipping import WithoutDamaged


def contents(data_dir: str | Path, sources: Sequence[WithoutDamaged]) -> dict[str, Any]:
    """What is in a split of a dataset, as JSON.

    Args:
        data_dir: Folder of the dataset.
        sources: The records of each size, in the order of their folders.

    Returns:
        `clips`: how many of each size; `metadata`: a hash; `files`: the name of each record file in `data_dir` and its
        `RecordFile.end_hash`.
    """
    files = [file for source in sources for file in source.files]
    return {
        "clips": [len(source) for source in sources],
        "metadata": builder.metadata_hash(data_dir),
        "files": [[file.path.relative_to(data_dir).as_posix(), file.end_hash] for file in files],
    }


def change(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What of a dataset has changed; empty when nothing has.

    A file that is damaged, or was, is not a change: its records are skipped for as long.

    Args:
        before: As `contents` gave it.
        now: The same, of today.
    """
    if before["clips"] != now["clips"]:
        return f"it had {_each(before['clips'])} clips, now it has {_each(now['clips'])}"
    if len(before["files"]) != len(now["files"]):
        return f"it had {len(before['files'])} record files, now it has {len(now['files'])}"
    for (_, then), (name, hashed) in zip(before["files"], now["files"], strict=True):
        if then and hashed and then != hashed:
            return f"{name} holds other records than then"
    if before["metadata"] != now["metadata"]:
        return "its fields or its empty prompt are others"
    return ""


def _each(counts: Sequence[int]) -> str:
    return " and ".join(map(str, counts))

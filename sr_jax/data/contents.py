"""What is in a dataset, told at a glance, so that one that was moved is known, and one that was changed too."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sr_jax.data import builder
from sr_jax.data.groups import Group


def contents(folders: Sequence[Path], groups: Sequence[Group]) -> dict[str, Any]:
    """What is in a split of some datasets, as JSON.

    Args:
        folders: Of the datasets.
        groups: Their records, as `groups.open_groups` gives them.

    Returns:
        `clips`: how many of each shape; `metadata`: a hash for each dataset; `files`: the place of each record file,
        seen from the first folder, and its `RecordFile.end_hash`.
    """
    files = [file for group in groups for file in group.files]
    return {
        "clips": [len(group) for group in groups],
        "metadata": "-".join(map(builder.metadata_hash, folders)),
        "files": [[Path(os.path.relpath(file.path, folders[0])).as_posix(), file.end_hash] for file in files],
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

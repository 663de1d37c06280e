"""The clips that a dataset keeps beside its records: the reference for evaluation.

clips/<split>/index.jsonl       a line for each clip: what its record says of it, and the labels of its video
clips/<split>/<clip_id>.mp4     its own pixels
clips/<split>/<clip_id>.*.npz   what teachers saw in them, such as `depth`
"""

import json
from pathlib import Path
from typing import Any

from sr_jax.errors import UserError

CLIPS_FOLDER = "clips"
"""In the folder of the dataset."""
INDEX_FILE = "index.jsonl"
"""In the folder of a split."""


def read_index(folder: Path) -> dict[str, dict[str, Any]]:
    """The kept clips of a split by their ids: `clip_id`, `prompt`, `source`, `source_first_frame` and `labels`.

    Raises:
        UserError: When the folder has no index.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise UserError(f"no {path}: name a folder DATA/clips/SPLIT of a dataset prepared with keep_clips")
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return {entry["clip_id"]: entry for entry in entries}

"""A folder of generated clips, which says what made them."""

import json
from pathlib import Path
from typing import Any

from sr_jax.checkpoints.pairs import SPACING
from sr_jax.errors import UserError
from sr_jax.outputs import write_text

SETTINGS_FILE = "sampling.json"
"""Beside the generated clips: what made them."""
PROMPTS_FILE = "prompts.json"
"""The same, of clips that a file of prompts asked for."""
CODEC_HASH, FACES_HASH = "codec_hash", "face_recogniser_hash"
"""Its entries with the hashes of the codec, and of the recogniser whose faces the checkpoint was trained on."""


def claim(output: Path, made_by: dict[str, Any], name: str = SETTINGS_FILE) -> None:
    """Marks a new folder, in a file of this name, with what makes its clips.

    Raises:
        UserError: When it holds clips that were made otherwise, or something else.
    """
    path = output / name
    if path.is_file():
        before = json.loads(path.read_text())
        # Folders that were begun before these were kept lack them.
        for key in sorted(before.keys() | (made_by.keys() - {CODEC_HASH, FACES_HASH, SPACING})):
            if before.get(key) != made_by.get(key):
                raise UserError(
                    f"{output} holds clips made with {key}={before.get(key)!r}, now it is {made_by.get(key)!r}: "
                    "choose another --output or remove it"
                )
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not an empty folder: choose another --output")
    output.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(made_by, indent=2) + "\n")


def read_settings(folder: Path) -> dict[str, Any]:
    """What made the clips in a folder that `generate_split` wrote.

    Raises:
        UserError: When the folder does not say.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise UserError(f"no {path}: name a folder that `python -m sr_jax.sample --data` wrote")
    return json.loads(path.read_text())

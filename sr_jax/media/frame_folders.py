"""Folders of frames: a video as single pictures, numbered without gaps."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from sr_jax.errors import UserError
from sr_jax.media.images import read_image

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


def is_frame_folder(folder: Path) -> bool:
    """Whether a folder holds pictures and nothing else, but for hidden files."""
    files = _visible(folder)
    return bool(files) and all(path.suffix.lower() in _SUFFIXES and path.is_file() for path in files)


def frames_of(folder: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The pictures in the order of their numbers, the last ones in their names.

    Raises:
        UserError: When a name has no number, a number is missing or twice there, or a picture cannot be read.
    """
    numbered: dict[int, Path] = {}
    for path in _visible(folder):
        found = re.findall(r"\d+", path.stem)
        if not found:
            raise UserError(f"{folder} is a folder of frames, but {path.name} has no number: number all of them")
        other = numbered.setdefault(int(found[-1]), path)
        if other != path:
            raise UserError(f"{folder} has two frames of one number, {other.name} and {path.name}: remove one")
    first = min(numbered)
    for number in range(first, first + len(numbered)):
        if number not in numbered:
            raise UserError(f"{folder} is a folder of frames {first} to {max(numbered)}, but frame {number} is missing")
        yield read_image(numbered[number])


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))

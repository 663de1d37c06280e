"""Captions of many videos in one table."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sr_jax.errors import UserError

_FILE, _CAPTION = "file", "caption"


class CaptionTable:
    """Captions by video.

    A `.csv` file has the columns `file` and `caption`, a `.jsonl` file one object with these keys a line. `file` is a
    path below the input folder.

    Attributes:
        files: The table itself, which is no video.
    """

    def __init__(self, folder: Path, captions: dict[str, str], files: frozenset[Path] = frozenset()):
        self._folder, self._captions, self.files = folder, captions, files

    @classmethod
    def read(cls, path: str, folder: Path) -> "CaptionTable":
        """Reads a table.

        Args:
            path: The file, absolute or below the input folder; "" for an empty table.
            folder: The input folder.

        Raises:
            UserError: When the file is missing, is of neither kind, or a line has no file or no caption.
        """
        if not path:
            return cls(folder, {})
        file = folder / path
        if not file.is_file():
            raise UserError(f"no caption table {file}")
        readers = {".csv": csv.DictReader, ".jsonl": _json_lines}
        if file.suffix.lower() not in readers:
            raise UserError(f"{file} must be a .csv or a .jsonl file")
        captions = {}
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                for number, row in enumerate(readers[file.suffix.lower()](lines), 1):
                    if not isinstance(row, dict) or not all(isinstance(row.get(k), str) for k in (_FILE, _CAPTION)):
                        raise UserError(f"{file}: row {number} needs `{_FILE}` and `{_CAPTION}`")
                    captions[row[_FILE]] = row[_CAPTION]
        except (ValueError, csv.Error) as error:
            raise UserError(f"cannot read the caption table {file}: {error}") from error
        return cls(folder, captions, frozenset({file}))

    def caption(self, video: Path) -> str:
        """The caption of a video in the input folder, or ""."""
        return self._captions.get(video.relative_to(self._folder).as_posix(), "")


def _json_lines(lines: Iterable[str]) -> Iterator[Any]:
    return (json.loads(line) for line in lines if line.strip())

"""Captions of many videos in one table.

Every row is used or named: a table whose rows cannot be told apart or read is refused, and so is one that names no
video of the input at all; a row that alone names none is told, with the name that is nearest to it.
"""

import csv
import dataclasses
import difflib
import io
import json
import os
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sr_jax.errors import UserError
from sr_jax.preparation.text_files import check_text, read_text

_FILE, _CAPTION = "file", "caption"
# How many rows an error lists, and for how many the nearest name is looked for.
_SHOWN, _COMPARED = 4, 20


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        line: Where it begins in the table, from 1.
        file: The video as the row names it.
        caption: What it says of the video.
    """

    line: int
    file: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Captions:
    """The captions of a table by video.

    Attributes:
        texts: By the path of the video.
        unused: One line for each row that names no video.
    """

    texts: dict[Path, str] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class CaptionTable:
    """The rows of a table.

    A `.csv` file has the columns `file` and `caption`, a `.jsonl` file one object with these keys a line.

    Attributes:
        path: The table; None where there is none.
        rows: Its rows.
    """

    path: Path | None = None
    rows: tuple[Row, ...] = ()

    @classmethod
    def read(cls, path: str, folder: Path) -> "CaptionTable":
        """Reads a table.

        Args:
            path: The file, absolute or below the input folder; "" for no table.
            folder: The input folder.

        Raises:
            UserError: When the file is missing or of neither kind, or for the first line that is no row.
        """
        if not path:
            return cls()
        file = folder / path
        if not file.is_file():
            raise UserError(f"no caption table {file}")
        readers = {".csv": _csv_rows, ".jsonl": _json_rows}
        if file.suffix.lower() not in readers:
            raise UserError(f"{file} must be a .csv or a .jsonl file")
        try:
            rows = tuple(readers[file.suffix.lower()](file, read_text(file)))
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror}") from error
        for row in rows:
            for text in (row.file, row.caption):
                check_text(text, f"{file}, line {row.line}")
        return cls(file, rows)

    @property
    def files(self) -> frozenset[Path]:
        """The table itself, which is no video."""
        return frozenset({self.path} if self.path else ())

    def match(self, folder: Path, videos: Sequence[Path]) -> Captions:
        """Finds the video of each row.

        A row names the video whose path ends as it says: below the input folder, without its first folders, absolute,
        with `./` or back-slashes, and with or without the ending of the file.

        Args:
            folder: The input folder.
            videos: Its videos; nothing else is looked at, wherever a row points.

        Raises:
            UserError: When a row fits several videos, two rows with different captions fit one, a caption goes on into
                the next rows, or none of the rows names a video.
        """
        if self.path is None:
            return Captions()
        names = _Names(folder, videos)
        texts: dict[Path, str] = {}
        lines: dict[Path, int] = {}
        unused: list[str] = []
        for row in self.rows:
            found = names.find(row.file)
            if len(found) > 1:
                several = " and ".join(names.shown(video) for video in found[:_SHOWN])
                raise UserError(f"{self.path}, line {row.line}: {row.file!r} fits {several}: give the folder too")
            self._check_quotes(row, names)
            if not found:
                near = names.nearest(row.file) if len(unused) < _COMPARED else ""
                unused.append(f"line {row.line} {row.file!r}" + (f" (the nearest is {near!r})" if near else ""))
                continue
            (video,) = found
            caption = " ".join(row.caption.split())
            if texts.setdefault(video, caption) != caption:
                raise UserError(
                    f"{self.path}, lines {lines[video]} and {row.line}: two captions of {names.shown(video)}: leave one"
                )
            lines.setdefault(video, row.line)
        if not lines:
            raise UserError(
                f"no row of {self.path} names a video below {folder}: {_listed(unused) or 'it has no rows'}"
            )
        # A row may leave the caption open.
        return Captions({video: text for video, text in texts.items() if text}, tuple(unused))

    def require_all_used(self, captions: Captions) -> None:
        """Checks that every row names a video.

        Raises:
            UserError: Naming those that do not.
        """
        if captions.unused:
            raise UserError(
                f"{len(captions.unused)} of {len(self.rows)} rows of {self.path} name no video: "
                f"{_listed(captions.unused)}"
            )

    def _check_quotes(self, row: Row, names: "_Names") -> None:
        """A caption of several lines is a caption; one that holds another row has a quote that was not closed."""
        for line in row.caption.splitlines()[1:]:
            first = line.split(",")[0].strip()
            if "," in line and names.find(first):
                raise UserError(
                    f"{self.path}, line {row.line}: the caption goes on into the row of {first!r}: close its quote"
                )


def _listed(rows: Sequence[str]) -> str:
    more = len(rows) - _SHOWN
    return "; ".join(rows[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    # Strict: quotes that are not closed, or closed in the middle, are errors.
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] | None = None
    line = 1
    try:
        for values in lines:
            begin, line = line, lines.line_num + 1
            if not any(value.strip() for value in values):
                continue
            if columns is None:
                columns = _columns(path, values)
                continue
            if len(values) != len(columns):
                raise UserError(
                    f"{path}, line {begin}: {len(values)} values in {len(columns)} columns: put a caption that holds "
                    "commas in double quotes"
                )
            row = dict(zip(columns, values))
            yield _row(path, begin, row[_FILE], row[_CAPTION])
    except csv.Error as error:
        raise UserError(f"cannot read {path}, line {line}: {error}: is a double quote not closed?") from error


def _columns(path: Path, values: list[str]) -> list[str]:
    columns = [value.strip() for value in values]
    if columns.count(_FILE) != 1 or columns.count(_CAPTION) != 1:
        raise UserError(
            f"{path}: the first line needs the columns `{_FILE}` and `{_CAPTION}`, each once and with commas between "
            f"them; it has {', '.join(map(repr, columns[:8]))}"
        )
    return columns


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=_Pairs)
        # Brackets in brackets beyond any number end in the last of these.
        except (ValueError, RecursionError) as error:
            raise UserError(f"cannot read {path}, line {number}: it is not JSON: {error}") from error
        if not isinstance(pairs, _Pairs):
            raise UserError(f"{path}, line {number} needs an object with `{_FILE}` and `{_CAPTION}`")
        names = [name for name, _ in pairs.items]
        if names.count(_FILE) != 1 or names.count(_CAPTION) != 1:
            raise UserError(f"{path}, line {number} needs `{_FILE}` and `{_CAPTION}`, each once")
        row = dict(pairs.items)
        yield _row(path, number, row[_FILE], row[_CAPTION])


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """A JSON object as it is written: keys may be there twice."""

    items: list[tuple[str, Any]]


def _row(path: Path, line: int, file: Any, caption: Any) -> Row:
    for name, value in ((_FILE, file), (_CAPTION, caption)):
        if not isinstance(value, str):
            raise UserError(f"{path}, line {line}: `{name}` is {value!r}, which is no text")
    if not file.strip():
        raise UserError(f"{path}, line {line} names no video: fill in `{_FILE}`, or remove the row")
    return Row(line, file, caption)


class _Names:
    """The videos of an input, and which of them a path in a table may mean."""

    def __init__(self, folder: Path, videos: Iterable[Path]):
        self._relative = {_normal(video.relative_to(folder).as_posix()): video for video in videos}
        # As a user may write them: along links, or not.
        roots = {PurePosixPath(os.path.abspath(folder)), PurePosixPath(os.path.realpath(folder))}
        self._by_name: dict[str, list[tuple[tuple[str, ...], Path]]] = {}
        self._by_stem: dict[str, list[tuple[tuple[str, ...], Path]]] = {}
        for name, video in self._relative.items():
            for root in roots:
                parts = (PurePosixPath(_normal(str(root))) / name).parts
                stem = PurePosixPath(name).stem
                self._by_name.setdefault(parts[-1], []).append((parts, video))
                self._by_stem.setdefault(stem, []).append(((*parts[:-1], stem), video))
        self._shown = {video: name for name, video in self._relative.items()}

    def shown(self, video: Path) -> str:
        """The path of a video below the input folder."""
        return self._shown[video]

    def find(self, given: str) -> list[Path]:
        """The videos that a path may mean."""
        if _normal(given) in self._relative:
            return [self._relative[_normal(given)]]
        parts = _parts(given)
        if not parts:
            return []
        whole = "/".join(parts)
        if whole in self._relative:
            return [self._relative[whole]]
        for videos in (self._by_name, self._by_stem):
            fitting = {video: len(full) for full, video in videos.get(parts[-1], ()) if full[-len(parts) :] == parts}
            if fitting:
                inside = [video for video in fitting if len(PurePosixPath(self._shown[video]).parts) == len(parts)]
                return inside or list(fitting)
        return []

    def nearest(self, given: str) -> str:
        """The path of the video whose name is most like a path; "" where none is like it."""
        wanted = _parts(given) or ("",)
        # With as many folders as the path has, or without them.
        for count in (len(wanted), 1):
            tails: dict[str, list[str]] = {}
            for name in self._relative:
                tails.setdefault("/".join(PurePosixPath(name).parts[-count:]).casefold(), []).append(name)
            found = difflib.get_close_matches("/".join(wanted[-count:]).casefold(), tails, n=1, cutoff=0.6)
            if found:
                whole = "/".join(wanted)
                return max(tails[found[0]], key=lambda name: difflib.SequenceMatcher(None, name, whole).ratio())
        return ""


def _normal(path: str) -> str:
    """A path with composed letters: macOS takes them apart."""
    return unicodedata.normalize("NFC", path)


def _parts(given: str) -> tuple[str, ...]:
    """The parts of a path as a table gives it, as far as that can be told without the file system."""
    return PurePosixPath(posixpath.normpath(_normal(given.strip().replace("\\", "/")))).parts

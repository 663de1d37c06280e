"""Which generated clip belongs to which real one: by their names in two folders, or by a table.

A clip is a video file or a folder of numbered frames that lies in its folder. By name, `GENERATED/walk.mp4` belongs to
`REFERENCE/walk.mov` or to the frames in `REFERENCE/walk/`. A table is a CSV file with a header; its columns are
`generated` and `reference`, paths below the two folders, and, as far as there are any, `prompt`, `image` (a reference
image, relative to the table) and `group` (the person or video that clips have in common, for intervals).
"""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from sr_jax.errors import UserError
from sr_jax.media.frame_folders import is_frame_folder

VIDEO_SUFFIXES = frozenset(
    {".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
_COLUMNS = ("generated", "reference", "prompt", "image", "group")
_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Pair:
    """A generated clip and the real one that it is compared with.

    Attributes:
        name: Of the clip in results.
        generated: A video file or a folder of frames.
        reference: Likewise.
        prompt: What the generated clip was to show; empty where nothing says it.
        image: The reference image; None where that is the real first frame.
        group: What clips have in common that are not independent; by default the real clip's path.
    """

    name: str
    generated: Path
    reference: Path
    prompt: str = ""
    image: Path | None = None
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Pairing:
    """All pairs, in the order of their names.

    Attributes:
        pairs: At least one.
        rule: How they were found, for the results.
        unused: Names of real clips for which there is no generated one: they count for nothing.
    """

    pairs: Sequence[Pair]
    rule: str
    unused: Sequence[str]


def pair_clips(generated: Path, reference: Path, table: Path | None = None) -> Pairing:
    """Pairs the clips of two folders.

    Args:
        generated: Folder of generated clips.
        reference: Folder of real clips.
        table: The table; None pairs by name.

    Raises:
        UserError: When a folder is missing or holds no clip, a generated clip has no real one, two have one name, or
            the table cannot be read or names what is not there.
    """
    for folder in (generated, reference):
        if not folder.is_dir():
            raise UserError(f"no folder {folder}: name one of video files, or of folders of frames")
    if table is not None:
        return Pairing(_pairs_of(table, generated, reference), f"by the table {table}", ())
    ours, real = clips_in(generated), clips_in(reference)
    if strangers := [name for name in ours if name not in real]:
        raise UserError(
            f"{len(strangers)} of {len(ours)} clips in {generated} have none of the same name in {reference}: "
            f"{_listed(strangers)}; rename them, or pair them by a table (--pairs)"
        )
    pairs = [Pair(name, path, real[name], group=real[name].name) for name, path in ours.items()]
    return Pairing(pairs, "by name", [name for name in real if name not in ours])


def clips_in(folder: Path) -> dict[str, Path]:
    """The clips that lie in a folder, by their names without suffix, in order.

    Depth beside a video (`name.depth.mp4`) is no clip of its own, nor is what has another suffix than those of videos.

    Raises:
        UserError: When there are none, or two have one name.
    """
    clips: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not _is_clip(path):
            continue
        name = path.name if path.is_dir() else path.stem
        if name in clips:
            raise UserError(f"{folder} has two clips called {name}, {clips[name].name} and {path.name}: remove one")
        clips[name] = path
    if not clips:
        raise UserError(f"{folder} holds no clips: neither video files nor folders of numbered frames")
    return clips


def _is_clip(path: Path) -> bool:
    if path.is_dir():
        return is_frame_folder(path)
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.stem.endswith(".depth")


def _pairs_of(table: Path, generated: Path, reference: Path) -> list[Pair]:
    rows = _rows(table)
    pairs = [_pair(row, table, generated, reference) for row in rows]
    names = [pair.name for pair in pairs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{table} names the generated clip {_listed(repeated)} more than once: leave one row of it")
    if not pairs:
        raise UserError(f"{table} has no rows: give one for each generated clip")
    return sorted(pairs, key=lambda pair: pair.name)


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            columns, rows = reader.fieldnames or (), list(reader)
    # A missing file, one of another encoding and one that is no CSV.
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the table {table}: {error}") from error
    strangers = [str(name) for name in columns if name not in _COLUMNS]
    if strangers or not {"generated", "reference"} <= set(columns):
        found = ", ".join(map(str, columns)) or "none"
        raise UserError(f"{table} has the columns {found}: give generated and reference, and none but {_COLUMNS[2:]}")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UserError(f"line {number} of {table} has not as many values as there are columns")
    return rows


def _pair(row: Mapping[str, str], table: Path, generated: Path, reference: Path) -> Pair:
    paths = [generated / row["generated"], reference / row["reference"]]
    image = table.parent / row["image"] if row.get("image") else None
    for path in [*paths, image]:
        if path is not None and not path.exists():
            raise UserError(f"{table} names {path}, which is not there")
    name = str(Path(row["generated"]).with_suffix(""))
    return Pair(name, *paths, row.get("prompt", ""), image, row.get("group") or row["reference"])


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")

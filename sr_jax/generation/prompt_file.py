"""Files that ask for many clips: an image, a prompt and what else goes with it on every line."""

import csv
import dataclasses
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sr_jax.errors import UserError
from sr_jax.media.images import read_image

_REQUIRED = ("image", "prompt")
_COLUMNS = (*_REQUIRED, "negative_prompt", "seed", "name")
_LARGEST_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Request:
    """A clip that is asked for.

    Attributes:
        name: Of its file, without the ending.
        image: File of its first frame.
        prompt: What happens.
        negative_prompt: What should not.
        seed: Of its noise, together with its prompt; as for a single clip.
    """

    name: str
    image: Path
    prompt: str
    negative_prompt: str
    seed: int


def read_requests(path: Path, *, negative_prompt: str, seed: int) -> list[Request]:
    """Reads a file of requests.

    Args:
        path: JSON Lines (`.jsonl`), an object a line, or a table with a header (`.csv`), with `image`, `prompt` and,
            where wanted, `negative_prompt`, `seed` and `name`. An image is looked for beside the file. A clip without a
            name is called by its number, from 0000.
        negative_prompt: Of lines that have none.
        seed: Likewise.

    Raises:
        UserError: When the file or an image cannot be read, or a line is not as above, with its number; when the file
            asks for nothing.
    """
    readers = {".jsonl": _json_lines, ".csv": _table}
    if path.suffix not in readers:
        raise UserError(f"--prompts {path} must end in {' or '.join(readers)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--prompts {path} cannot be read: {error}") from error
    requests: list[Request] = []
    lines: dict[str, int] = {}
    for number, fields in readers[path.suffix](text, path):
        try:
            request = _request(fields, path.parent, f"{len(requests):04d}", negative_prompt, seed)
            if request.name.lower() in lines:
                raise UserError(f"the name {request.name!r} is that of line {lines[request.name.lower()]}")
            # Now, and not when the clips before it have been made.
            read_image(request.image)
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error}") from error
        # Some file systems do not tell small letters from large ones.
        lines[request.name.lower()] = number
        requests.append(request)
    if not requests:
        raise UserError(f"{path} asks for no clip")
    return requests


def _json_lines(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}, line {number}: no JSON ({error})") from error


def _table(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in rows:
            if None in row or None in row.values():
                raise UserError(f"{path}, line {rows.line_num}: it has other columns than the header")
            # An empty cell is one that says nothing.
            yield rows.line_num, {name: value for name, value in row.items() if value or name in _REQUIRED}
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.reader.line_num}: no table ({error})") from error


def _request(fields: Any, folder: Path, name: str, negative_prompt: str, seed: int) -> Request:
    if not isinstance(fields, Mapping):
        raise UserError(f"it is no object with {', '.join(_REQUIRED)}")
    if unknown := [column for column in fields if column not in _COLUMNS]:
        raise UserError(f"unknown {unknown[0]!r}: there are {', '.join(_COLUMNS)}")
    values = {"negative_prompt": negative_prompt, "seed": seed, "name": name} | dict(fields)
    for column in _COLUMNS:
        if column != "seed" and not isinstance(values.get(column), str):
            raise UserError(f"{column} is {values.get(column)!r}: it must be text")
    if not values["image"]:
        raise UserError("it names no image")
    if not re.fullmatch(r"[\w-][\w.-]*", values["name"]):
        raise UserError(f"the name {values['name']!r} is none of a file: use letters, digits, and . _ - behind them")
    return Request(
        values["name"], folder / values["image"], values["prompt"], values["negative_prompt"], _seed(values["seed"])
    )


def _seed(value: Any) -> int:
    whole = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"\d+", whole, re.ASCII) or int(whole) > _LARGEST_SEED:
        raise UserError(f"seed is {value!r}: it must be a whole number from 0 to {_LARGEST_SEED}")
    return int(whole)

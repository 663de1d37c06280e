"""Files that appear complete or not at all, and one line for what cannot be written."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from sr_jax.errors import UserError

_TEMPORARY = ".tmp"


def require_writable(folder: Path) -> None:
    """Checks that a folder can be made, or written into where there is one; makes nothing.

    Raises:
        UserError: When a file is in its place or in the place of a folder around it, or nothing may be written there.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))
    if not there.is_dir():
        raise UserError(f"cannot write to {folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {folder}: {there} may not be written into")


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Says what goes wrong with writing into a folder: its disk is full, or a file is where a folder should be.

    Raises:
        UserError: In place of an `OSError` of the context.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error}") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden file beside `path` that takes its place when the context ends well.

    Its name is its own: of several processes that write the same file, the last to finish wins, and none sees another's
    half. What a killed process leaves, `remove_leftovers` removes.

    Args:
        path: The file to write; its folder must exist.

    Yields:
        Where to write.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all; its folder must exist."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def is_leftover(path: Path) -> bool:
    """Whether a file is what a killed process left of `replacing`."""
    return path.name.startswith(".") and path.suffix == _TEMPORARY


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left of `replacing` in a folder and in all below it."""
    for path in folder.rglob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)

"""Folders to write: beside their place until they are whole, and on a disk that has room for them."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sr_jax.errors import UserError


def partial_folder(output: Path) -> Path:
    """Where a folder is written before it is moved to `output`, whole: beside it.

    Raises:
        UserError: If `output` exists.
    """
    if os.path.lexists(output):
        raise UserError(f"{output} exists: name a new folder, or remove it")
    return output.with_name(f".{output.name}.partial")


@contextlib.contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder to write in, without what a killed run left; moved to `output` at the end, removed after an error.

    Raises:
        UserError: If `output` exists.
    """
    partial = partial_folder(output)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial)
        raise
    partial.replace(output)


def require_outside(output: Path, folder: Path) -> None:
    """Checks that a folder to write does not lie in one that is read.

    Raises:
        UserError: If it does.
    """
    if output.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{output} lies in the source: name a folder outside of {folder}")


def require_space(output: Path, needed: int, what: str) -> None:
    """Checks that the disk of a folder to write has room.

    Args:
        output: The folder; need not exist.
        needed: Bytes to write.
        what: "import" or "export", for the message.

    Raises:
        UserError: If there is less.
    """
    parent = next(parent for parent in output.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise UserError(f"{parent} has {free / 1e9:.1f} GB left, the {what} needs {needed / 1e9:.1f}: use another disk")

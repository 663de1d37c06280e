"""The files of a diffusers folder that hold no weights of ours: an import keeps them, an export brings them back."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sr_jax.conversion.components import PIPELINE_FILE, Component, component_folders, read_json
from sr_jax.conversion.parts import PartKind
from sr_jax.conversion.weight_files import index_name, is_weights
from sr_jax.errors import UserError


def files_below(folder: Path) -> Iterator[Path]:
    """Path of every file below a folder, relative to it, in order; links are followed, hidden folders passed over."""
    return (path.relative_to(folder) for path in _files(folder, ()))


def _files(folder: Path, around: tuple[Path, ...]) -> Iterator[Path]:
    real = folder.resolve()
    # A link back to where it lies: what is there is found without it.
    if any(outer.is_relative_to(real) for outer in around):
        return
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            yield path
        elif not path.name.startswith("."):
            yield from _files(path, (*around, real))


def other_files(
    source: Path, components: Sequence[Component], kinds: Mapping[str, PartKind]
) -> tuple[list[Path], list[Path]]:
    """The files to keep beside the imported weights, and weight files that no part of the pipeline loads.

    The latter are variants and other formats of what is imported. Of parts that have weights but are not imported, no
    file is among either; weights of parts that are none of `kinds` are kept.

    Args:
        source: A folder that diffusers saved.
        components: What is imported of it.
        kinds: Every part that its family has.

    Returns:
        Paths relative to `source`.

    Raises:
        UserError: If a file to keep is a link that leads nowhere.
    """
    folders = {component.folder for component in components}
    left_out = set(component_folders(source, kinds).values()) - folders
    loaded_whole = _other_parts(source, kinds)
    weights = {Path(part.folder) / file for part in components for file in part.weights.headers}
    indices = {Path(part.folder) / index_name(part.kind.weights) for part in components}
    kept, unused = [], []
    for path in files_below(source):
        if path.parts[0] in left_out or path in weights:
            continue
        if is_weights(path.name) and path not in indices and path.parts[0] not in loaded_whole:
            unused.append(path)
        elif not (source / path).is_file():
            raise UserError(f"{source / path} is a link that leads nowhere: mend or remove it")
        else:
            kept.append(path)
    return kept, unused


def copy_files(source: Path, paths: Iterable[Path], target: Path) -> None:
    """Copies files, at these paths relative to both folders; permissions are those of new files."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target / path)


def total_size(folder: Path, paths: Iterable[Path]) -> int:
    """Bytes of files, at these paths relative to the folder."""
    return sum((folder / path).stat().st_size for path in paths)


def _other_parts(source: Path, kinds: Mapping[str, PartKind]) -> set[str]:
    """Folders of a pipeline's parts that are none of ours."""
    if not (source / PIPELINE_FILE).is_file():
        return set()
    return {name for name, value in read_json(source / PIPELINE_FILE).items() if isinstance(value, list)} - kinds.keys()

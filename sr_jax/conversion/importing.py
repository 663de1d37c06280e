"""Imports a diffusers folder: all weights into our layout, all other files as they are."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import orbax.checkpoint as ocp

import sr_jax
from sr_jax.conversion.choices import DTYPES
from sr_jax.conversion.components import SCHEDULER_FILE, Component, find_components, read_json
from sr_jax.conversion.identities import file_hashes, identities, weight_files
from sr_jax.conversion.imported import HEADER_SUFFIX, SOURCE_FOLDER, STEP_FOLDER, ImportRecord
from sr_jax.conversion.other_files import copy_files, files_below, other_files, total_size
from sr_jax.conversion.output import partial_folder, require_outside, require_space
from sr_jax.conversion.parts import PartKind
from sr_jax.conversion.streaming import lazy_params
from sr_jax.errors import UserError
from sr_jax.parallel.stored import save_item

_PLAN_FILE = "plan.json"


@dataclasses.dataclass(frozen=True)
class Source:
    """Where an import comes from.

    Attributes:
        folder: The files.
        name: What the user called it: the folder or the hub name.
        revision: Commit of the hub's repository; empty for a folder.
        published: SHA-256 of files by their path in `folder`, as the hub has it; empty for a folder.
    """

    folder: Path
    name: str
    revision: str = ""
    published: Mapping[str, str] = dataclasses.field(default_factory=dict)


def import_pipeline(
    source: Source,
    output: Path,
    kinds: Mapping[str, PartKind],
    describe: Callable[[Mapping[str, Any], Mapping[str, Any] | None], dict[str, Any]],
    *,
    components: Sequence[str] = (),
    dtype: str = "",
    progress: Callable[[str, int], Callable[[int], None]] = lambda name, total: lambda n: None,
) -> list[Path]:
    """Imports a pipeline, or one part of one.

    Everything is written beside `output` and moved there at the end. After an interruption the same call keeps the
    parts that were finished; another call starts anew. Host memory holds a few tensors at a time.

    Args:
        source: What to import.
        output: Folder to write; must not exist.
        kinds: Every part that its family has.
        describe: From our configurations of the imported parts, and the scheduler's if there is one, to what a config
            that trains or samples says of the model.
        components: Which parts; all when empty.
        dtype: One of `DTYPES` to convert to; as in the files when empty.
        progress: Called with the name and the size in bytes of a part before it is read; returns what to call with the
            size of each tensor.

    Returns:
        Weight files that were left out, because no part of the pipeline loads them; relative to the source.

    Raises:
        UserError: If `output` exists, the source does not fit, or the disk is too small; nothing is written then.
    """
    if dtype and dtype not in DTYPES:
        raise UserError(f"dtype is {dtype!r}: choose one of {', '.join(DTYPES)}")
    partial = partial_folder(output)
    require_outside(output, source.folder)
    found = find_components(source.folder, kinds, components)
    scheduler = source.folder / SCHEDULER_FILE
    config = describe(
        {component.name: component.config for component in found},
        read_json(scheduler) if scheduler.is_file() else None,
    )
    kept, unused = other_files(source.folder, found, kinds)
    needed = sum(component.nbytes(dtype) for component in found) + total_size(source.folder, kept)
    if partial.is_dir():
        # What an interrupted run wrote is kept, or makes room.
        needed -= total_size(partial, files_below(partial))
    require_space(output, needed, "import")
    _open_partial(partial, source, found, dtype)
    try:
        for component in found:
            item = partial / STEP_FOLDER / component.kind.item
            if not item.exists():
                _import_component(component, item, dtype, progress(component.name, component.nbytes()))
        _copy_source(source.folder, partial / SOURCE_FOLDER, found, kept)
        _write_meta(source, partial, found, kinds, dtype, config)
    except UserError:
        # The same call would fail again.
        shutil.rmtree(partial)
        raise
    (partial / _PLAN_FILE).unlink()
    partial.replace(output)
    return unused


def _open_partial(partial: Path, source: Source, components: Sequence[Component], dtype: str) -> None:
    """Leaves in the folder what an interrupted run of the same import finished, and nothing else."""
    plan = json.dumps({"source": source.name, "dtype": dtype, "files": _fingerprint(components)})
    plan_file = partial / _PLAN_FILE
    if not plan_file.is_file() or plan_file.read_text() != plan:
        shutil.rmtree(partial, ignore_errors=True)
        (partial / STEP_FOLDER).mkdir(parents=True)
        plan_file.write_text(plan)
    items = {component.kind.item for component in components}
    for leftover in (partial / STEP_FOLDER).iterdir():
        if leftover.name not in items:
            shutil.rmtree(leftover)
    shutil.rmtree(partial / SOURCE_FOLDER, ignore_errors=True)


def _fingerprint(components: Sequence[Component]) -> dict[str, Any]:
    stats = {name: path.stat() for component in components for name, path in weight_files(component).items()}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _import_component(component: Component, item: Path, dtype: str, on_bytes: Callable[[int], None]) -> None:
    abstract = component.kind.functional(component.config).abstract_params()
    params = lazy_params(
        component.weights,
        component.rules,
        abstract,
        dtype=jnp.dtype(dtype) if dtype else None,
        on_bytes=on_bytes,
    )
    save_item(item, component.name, params)


def _copy_source(source: Path, target: Path, components: Sequence[Component], kept: Sequence[Path]) -> None:
    """Copies the files to keep; of weight files the headers."""
    copy_files(source, kept, target)
    for component in components:
        for file, header in component.weights.headers.items():
            (target / component.folder / (file + HEADER_SUFFIX)).write_bytes(header)


def _write_meta(
    source: Source,
    partial: Path,
    components: Sequence[Component],
    kinds: Mapping[str, PartKind],
    dtype: str,
    config: dict[str, Any],
) -> None:
    """Writes the record, and what training and sampling ask of a workdir's checkpoint."""
    sha256: dict[str, str] = {}
    for component in components:
        sha256 |= file_hashes(component, source.published, read=True)
    record = ImportRecord(
        source=source.name,
        revision=source.revision,
        folders={component.name: component.folder for component in components},
        dtype=dtype,
        sha256=sha256,
        software_version=sr_jax.__version__,
        identities=identities(source.folder, components, kinds, dtype, sha256, source.published),
    )
    meta = {"step": 0, "stage": "import", "config": config, "imported": dataclasses.asdict(record)}
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
        checkpointer.save((partial / STEP_FOLDER / "meta").absolute(), args=ocp.args.JsonSave(meta))
    record.write(partial)

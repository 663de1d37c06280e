"""Released models of every family: which one a folder holds, and its parts."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sr_jax.backbones.base import families
from sr_jax.conversion import components as opening
from sr_jax.conversion import exporting, imported, importing, single_file
from sr_jax.conversion.components import CONFIG_FILE, PIPELINE_FILE, Component, class_names, read_json
from sr_jax.conversion.importing import Source
from sr_jax.conversion.parts import PartKind
from sr_jax.errors import UserError
from sr_jax.models.functional import Params

# What released models compute in; a config that trains or samples may say otherwise.
_COMPUTE_DTYPE = "bfloat16"


def known_parts() -> dict[str, PartKind]:
    """The parts of every family by name; of a name that several have, one of them."""
    return {name: kind for family in families().values() for name, kind in family.parts.items()}


def family_of(folder: Path) -> tuple[str, type]:
    """Name and class of the family that a folder is of: what diffusers saved, one part of that, or an import.

    Raises:
        UserError: When it is none of these, or of no family that is known.
    """
    classes = _classes(folder / imported.SOURCE_FOLDER if imported.is_imported(folder) else folder)
    # Families share text encoders: the one with most parts in common is meant.
    shared = {
        name: len(classes & {kind.class_name for kind in family.parts.values()}) for name, family in families().items()
    }
    name = max(shared, key=shared.__getitem__)
    if not shared[name]:
        raise UserError(
            f"{folder} holds none of {', '.join(known_parts())} of a model that is known here "
            f"({', '.join(families())}), but {', '.join(sorted(classes)) or 'nothing that has a class'}"
        )
    return name, families()[name]


def find_components(source: Path, names: Sequence[str] = ()) -> list[Component]:
    """As `conversion.components.find_components`, of the family that the folder is of.

    Raises:
        UserError: As that, and as `family_of`.
    """
    return opening.find_components(source, family_of(source)[1].parts, names)


def open_component(folder: Path, name: str) -> tuple[Any, Params]:
    """Our configuration of one part of an import, and its parameters as `LazyArray`.

    Raises:
        UserError: As `conversion.imported.open_component`, and as `family_of`.
    """
    imported.read_record(folder)
    return imported.open_component(folder, name, family_of(folder)[1].parts)


def imported_parts(folder: Path) -> list[exporting.Part]:
    """The parts of an import, to export.

    Raises:
        UserError: If `folder` is no import.
    """
    imported.read_record(folder)
    return exporting.imported_parts(folder, family_of(folder)[1].parts)


def import_pipeline(
    source: Source,
    output: Path,
    *,
    components: Sequence[str] = (),
    dtype: str = "",
    progress: Callable[[str, int], Callable[[int], None]] = lambda name, total: lambda n: None,
) -> list[Path]:
    """As `conversion.importing.import_pipeline`, of the family that the source is of.

    Raises:
        UserError: As that, and as `family_of`.
    """
    name, family = family_of(source.folder)

    def describe(configs: Mapping[str, Any], scheduler: Mapping[str, Any] | None) -> dict[str, Any]:
        config: dict[str, Any] = {"dtype": _COMPUTE_DTYPE, "backbone": name}
        if "transformer" in configs:
            config["model"] = dataclasses.asdict(configs["transformer"])
        if scheduler is not None:
            config["schedule"] = family.schedule_of_release(scheduler)
        return config

    return importing.import_pipeline(
        source, output, family.parts, describe, components=components, dtype=dtype, progress=progress
    )


def file_as_folder(path: Path, output: Path) -> contextlib.AbstractContextManager[Source]:
    """The folder that an import reads of a transformer in one file, as long as the context lasts.

    Args:
        path: A safetensors file, with the names of diffusers, of ComfyUI or of the original model.
        output: What will be imported to.

    Raises:
        UserError: As `conversion.single_file.as_folder`.
    """
    kinds = [family.parts["transformer"] for family in families().values() if family.parts["transformer"].released]
    return single_file.as_folder(path, output, kinds)


def _classes(folder: Path) -> set[str]:
    if (folder / PIPELINE_FILE).is_file():
        configs = [folder / name / CONFIG_FILE for name in known_parts()]
        return {found for path in configs if path.is_file() for found in class_names(read_json(path))}
    if (folder / CONFIG_FILE).is_file():
        return set(class_names(read_json(folder / CONFIG_FILE)))
    raise UserError(f"{folder} holds neither {PIPELINE_FILE} nor {CONFIG_FILE}: name a folder that diffusers saved")

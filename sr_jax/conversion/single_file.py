"""A released transformer in one safetensors file, under any program's names: as the folder that an import reads."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sr_jax.conversion.components import CONFIG_FILE, PIPELINE_FILE, SCHEDULER_FILE
from sr_jax.conversion.importing import Source
from sr_jax.conversion.layer_names import Names, Place, place_of
from sr_jax.conversion.output import partial_folder, require_space
from sr_jax.conversion.parts import PartKind
from sr_jax.conversion.rules import expected_shapes
from sr_jax.conversion.safetensors_file import StoredTensor, build_header, map_tensor, parse_header, read_header
from sr_jax.errors import UserError

_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")
_PART = "transformer"
_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class _Reading:
    """A file as that of one release, under one program's names.

    Attributes:
        kind: Of the transformer.
        release: Name of the release.
        sources: Where each tensor of diffusers' name lies: its key in the file, and its part of that.
        problems: What of the file does not fit.
    """

    kind: PartKind
    release: str
    sources: Mapping[str, tuple[str, Place]]
    problems: list[str]


@contextlib.contextmanager
def as_folder(path: Path, output: Path, kinds: Sequence[PartKind]) -> Iterator[Source]:
    """A folder of diffusers with the transformer of a file, beside `output`; gone at the end.

    Which release it is, its shapes tell; its scheduler is that of the release. Tensors that the release computes and
    does not load (`PartKind.computed`) are left out.

    Args:
        path: The file.
        output: What will be imported to.
        kinds: The transformers that it may be.

    Raises:
        UserError: If `output` exists, the file is of no release that is known, or the disk is too small.
    """
    folder = partial_folder(output).with_suffix(".source")
    shutil.rmtree(folder, ignore_errors=True)
    tensors = parse_header(read_header(path), path)
    reading, prefix = _read(path, tensors, kinds)
    require_space(output, 2 * path.stat().st_size, "import")
    try:
        _write(path, tensors, reading, prefix, folder)
        yield Source(folder, str(path))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path, tensors: Mapping[str, StoredTensor], kinds: Sequence[PartKind]) -> tuple[_Reading, str]:
    """The release and the names by which the whole file is explained, and the prefix of its keys."""
    prefix = next(prefix for prefix in _PREFIXES if any(key.startswith(prefix) for key in tensors) or not prefix)
    shapes = {key.removeprefix(prefix): tensor.shape for key, tensor in tensors.items() if key.startswith(prefix)}
    others = sorted({key.split(".")[0] for key in tensors if not key.startswith(prefix)})
    if others:
        raise UserError(
            f"{path} holds {', '.join(others)} beside the transformer: import the folder that diffusers saved of it, "
            "or a file with the transformer alone"
        )
    readings = []
    for kind in kinds:
        for name, release in kind.released.items():
            rules = kind.conversion.rules(release.config)
            wanted = expected_shapes(rules, kind.functional(release.config).abstract_params())
            readings += [_reading(shapes, kind, name, wanted, names) for names in ({}, *kind.other_names.values())]
    best = min(readings, key=lambda reading: len(reading.problems))
    if best.problems:
        known = ", ".join(name for kind in kinds for name in kind.released)
        shown = ", ".join(best.problems[:_SHOWN])
        more = f" and {len(best.problems) - _SHOWN} more" if len(best.problems) > _SHOWN else ""
        raise UserError(
            f"{path} is no released transformer ({known}); of {best.release} differ {shown}{more}: import the folder "
            "that diffusers saved of it, with its config.json"
        )
    return best, prefix


def _reading(
    shapes: Mapping[str, tuple[int, ...]],
    kind: PartKind,
    release: str,
    wanted: Mapping[str, tuple[int, ...]],
    names: Names,
) -> _Reading:
    sources, problems = {}, []
    for name, shape in wanted.items():
        layer, _, ending = name.rpartition(".")
        # What is no weight or bias of a layer goes by its own name.
        of_layer = ending in ("weight", "bias")
        place = place_of(names, layer if of_layer else name)
        key = f"{place.name}.{ending}" if of_layer else place.name
        sources[name] = (key, place)
        whole = (shape[0] // len(place.parts) * place.of, *shape[1:])
        if key not in shapes:
            problems.append(f"{key}, which is missing")
        elif shapes[key] != whole:
            problems.append(f"{key} {shapes[key]} instead of {whole}")
    unknown = shapes.keys() - {key for key, _ in sources.values()} - set(kind.computed)
    return _Reading(kind, release, sources, problems + [f"{key}, which is unknown" for key in sorted(unknown)])


def _write(path: Path, tensors: Mapping[str, StoredTensor], reading: _Reading, prefix: str, folder: Path) -> None:
    kind = reading.kind
    release = kind.released[reading.release]
    parts = {name: (tensors[prefix + key], place) for name, (key, place) in reading.sources.items()}
    described = {
        name: (stored.dtype, (stored.shape[0] // place.of * len(place.parts), *stored.shape[1:]))
        for name, (stored, place) in parts.items()
    }
    (folder / _PART).mkdir(parents=True)
    _write_json(folder / PIPELINE_FILE, {_PART: ["diffusers", kind.class_name]})
    _write_json(folder / _PART / CONFIG_FILE, kind.conversion.config_to_diffusers(release.config))
    (folder / SCHEDULER_FILE).parent.mkdir()
    _write_json(folder / SCHEDULER_FILE, release.scheduler)
    with (folder / _PART / f"{kind.weights}.safetensors").open("wb") as file:
        file.write(build_header(described, {"format": "pt"}))
        for stored, place in parts.values():
            tensor = map_tensor(path, stored)
            file.write((tensor if place.of == 1 else tensor[place.rows(len(tensor))]).tobytes())


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

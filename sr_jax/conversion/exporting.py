"""Exports parameters to a folder that diffusers loads: an import goes back out bit by bit."""

import contextlib
import dataclasses
import functools
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from sr_jax.conversion.components import CONFIG_FILE, SCHEDULER_FILE, read_json
from sr_jax.conversion.imported import HEADER_SUFFIX, SOURCE_FOLDER, open_component, read_record
from sr_jax.conversion.other_files import copy_files, files_below, total_size
from sr_jax.conversion.output import new_folder, require_outside, require_space
from sr_jax.conversion.parts import PartKind
from sr_jax.conversion.rules import TensorRule, cast, name_list, require_finite, their_shape, to_theirs
from sr_jax.conversion.safetensors_file import StoredTensor, file_size, parse_header
from sr_jax.conversion.shards import as_before, index_of, new_files
from sr_jax.conversion.weight_files import index_name
from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.parallel.lazy import LazyArray, row_groups
from sr_jax.parallel.stored import open_item

# What transformers calls the type of the weights in a config: since its version 5, and before.
_DTYPE_FIELDS = ("dtype", "torch_dtype")
# Read at once of a stacked parameter.
_READ_BYTES = 2**29
MAX_SHARD_BYTES = 5 * 10**9
"""Weights in one file where the source does not say: what the hub recommends."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a pipeline, to export.

    Attributes:
        name: In the pipeline.
        kind: What it is.
        folder: Where it goes, relative to the output.
        config: Our configuration.
        stored: Its parameters as `LazyArray`, by their paths of names.
        headers: Headers of the files that the weights came from; empty when they came from no files.
        unchanged: Whether the numbers are those of the files.
    """

    name: str
    kind: PartKind
    folder: str
    config: Any
    stored: Mapping[tuple[str, ...], LazyArray]
    headers: Mapping[str, bytes]
    unchanged: bool

    def rules(self) -> list[TensorRule]:
        """Where each tensor comes from."""
        return self.kind.conversion.rules(self.config)

    def tensors(self, dtype: np.dtype | None) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Type and shape of each tensor to write: of `dtype`, or as it was in the files, or as it is stored.

        Raises:
            UserError: Naming the parameters by which what is stored differs from the configuration.
        """
        wanted = {_names(rule) for rule in self.rules()}
        differing = {".".join(names) for names in wanted ^ self.stored.keys()}
        if differing:
            raise UserError(f"the stored {self.name} does not fit its configuration: {name_list(differing)} differ")
        before = self.before if self.unchanged else {}
        result = {}
        for rule in self.rules():
            leaf = self.stored[_names(rule)]
            shape = their_shape(leaf.shape if rule.layer is None else leaf.shape[1:], rule.layout, rule.kernel)
            for name in self.stored_names(rule):
                own = before[name].dtype if name in before else np.dtype(leaf.dtype)
                result[name] = (dtype or own, shape)
        return result

    @functools.cached_property
    def before(self) -> dict[str, StoredTensor]:
        """The tensors in the files that the weights came from."""
        return {
            name: tensor
            for file, header in self.headers.items()
            for name, tensor in parse_header(header, Path(file)).items()
        }

    def stored_names(self, rule: TensorRule) -> list[str]:
        """Every name under which the files have a tensor: its own where they do not tell."""
        names = [rule.source, *(alias for alias, name in self.kind.aliases.items() if name == rule.source)]
        return [name for name in names if name in self.before] or [rule.source]


def imported_parts(folder: Path, kinds: Mapping[str, PartKind]) -> list[Part]:
    """The parts of an imported pipeline, whose family has `kinds`.

    Raises:
        UserError: If `folder` is no import.
    """
    record = read_record(folder)
    parts = []
    for name, where in record.folders.items():
        config, params = open_component(folder, name, kinds)
        kept = sorted((folder / SOURCE_FOLDER / where).glob(f"*{HEADER_SUFFIX}"))
        headers = {path.name.removesuffix(HEADER_SUFFIX): path.read_bytes() for path in kept}
        parts.append(Part(name, kinds[name], where, config, _by_names(params), headers, unchanged=not record.dtype))
    return parts


def trained_transformer(item: Path, kind: PartKind, config: Any, base: Sequence[Part] = ()) -> Part:
    """The transformer of a training run's checkpoint.

    Args:
        item: `ema_params` or `params` of a checkpoint.
        kind: What it is.
        config: Its configuration.
        base: Parts of the pipeline that it belongs to: it takes over the files of that transformer.

    Raises:
        UserError: If the item holds none.
    """
    modules = open_item(item)
    if "transformer" not in modules:
        raise UserError(f"{item} holds {', '.join(modules)}, no transformer: name a base or stage two run")
    stored = _by_names(modules["transformer"])
    for part in base:
        if part.name == "transformer":
            return Part("transformer", kind, part.folder, config, stored, part.headers, unchanged=False)
    return Part("transformer", kind, "transformer", config, stored, {}, unchanged=False)


def export(
    parts: Sequence[Part],
    output: Path,
    *,
    other_files: Path | None = None,
    scheduler: Mapping[str, Any] | None = None,
    dtype: str = "",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Callable[[str, int], Callable[[int], None]] = lambda name, total: lambda n: None,
) -> None:
    """Writes a folder that diffusers loads.

    It is written beside `output` and moved there at the end; what a killed run left is removed. A part of a
    parameter is in memory at a time.

    Args:
        parts: What to write.
        output: Folder to write; must not exist.
        other_files: `source` of an import: its files are copied, but for those that tell of weights that changed.
        scheduler: What the scheduler's file must say; of one that is copied all else stays. None leaves it as it is.
        dtype: Type of all weights; when empty, as the source's files have it, or as the parameters are stored.
        max_shard_bytes: Weights in one file where the source's division into files does not apply.
        progress: As for `import_pipeline`.

    Raises:
        UserError: If `output` exists or lies in the import, the disk is too small, a part's parameters do not fit its
            configuration, or a value is too large for `dtype`; nothing is written then.
    """
    source, kept = other_files or Path(), []
    if other_files is not None:
        require_outside(output, other_files.parent)
        kept = [path for path in files_below(other_files) if path.suffix != HEADER_SUFFIX]
    with new_folder(output) as partial:
        files = [_headers(part, dtype, max_shard_bytes) for part in parts]
        sizes = [sum(file_size(header, Path(file)) for file, header in headers.items()) for headers in files]
        require_space(output, sum(sizes) + total_size(source, kept), "export")
        copy_files(source, kept, partial)
        _write_scheduler(scheduler, partial / SCHEDULER_FILE)
        for part, headers, size in zip(parts, files, sizes, strict=True):
            _export_part(part, partial / part.folder, headers, progress(part.name, size))


def _write_scheduler(wanted: Mapping[str, Any] | None, path: Path) -> None:
    """Leaves a file as it is where it says the same."""
    before = read_json(path) if path.is_file() else {}
    if wanted is None or all(name in before and before[name] == value for name, value in wanted.items()):
        return
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(before | dict(wanted), indent=2, sort_keys=True) + "\n")


def _headers(part: Part, dtype: str, max_shard_bytes: int) -> dict[str, bytes]:
    tensors = part.tensors(jnp.dtype(dtype) if dtype else None)
    return as_before(tensors, part.headers) or new_files(tensors, part.kind.weights, max_shard_bytes)


def _export_part(part: Part, folder: Path, headers: Mapping[str, bytes], on_bytes: Callable[[int], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_config(part, folder / CONFIG_FILE)
    index = folder / index_name(part.kind.weights)
    if headers != part.headers:
        index.unlink(missing_ok=True)
        _correct_dtype(folder / CONFIG_FILE, headers)
    if len(headers) > 1 and not index.is_file():
        index.write_text(index_of(headers))
    on_bytes(sum(map(len, headers.values())))
    _write_weights(part, folder, headers, on_bytes)


def _write_config(part: Part, path: Path) -> None:
    """Leaves the source's own file where it says the same."""
    conversion = part.kind.conversion
    if not path.is_file() or conversion.config_from_diffusers(json.loads(path.read_text())) != part.config:
        path.write_text(json.dumps(conversion.config_to_diffusers(part.config), indent=2, sort_keys=True) + "\n")


def _correct_dtype(path: Path, headers: Mapping[str, bytes]) -> None:
    """Makes a config tell the type of the weights where it tells one: transformers loads them as that type."""
    stored = [tensor.dtype for file, header in headers.items() for tensor in parse_header(header, Path(file)).values()]
    dtype = functools.reduce(jnp.promote_types, stored).name
    config_json = json.loads(path.read_text())
    corrected = {name: dtype for name in _DTYPE_FIELDS if config_json.get(name) not in (None, dtype)}
    if corrected:
        path.write_text(json.dumps(config_json | corrected, indent=2) + "\n")


def _write_weights(part: Part, folder: Path, headers: Mapping[str, bytes], on_bytes: Callable[[int], None]) -> None:
    rules = defaultdict(list)
    for rule in part.rules():
        rules[_names(rule)].append(rule)
    with contextlib.ExitStack() as stack:
        places = {}
        for name, header in headers.items():
            file = stack.enter_context((folder / name).open("wb"))
            file.write(header)
            places |= {tensor: (file, place) for tensor, place in parse_header(header, folder / name).items()}
        for names, array in part.stored.items():
            for rule, tensor in _tensors(array, rules[names]):
                for name in part.stored_names(rule):
                    on_bytes(_write_tensor(rule, tensor, *places[name]))


def _tensors(array: LazyArray, rules: Sequence[TensorRule]) -> Iterator[tuple[TensorRule, np.ndarray]]:
    """The tensors that are in a parameter, in our layout."""
    by_layer = {rule.layer: rule for rule in rules}
    if None in by_layer:
        yield by_layer[None], np.asarray(array)
        return
    for index in row_groups(array, _READ_BYTES):
        yield from zip((by_layer[layer] for layer in range(index[0].start, index[0].stop)), array[index], strict=True)


def _write_tensor(rule: TensorRule, array: np.ndarray, file: BinaryIO, place: StoredTensor) -> int:
    """Writes one tensor at its place and returns its size."""
    require_finite(array, rule.source)
    tensor = cast(to_theirs(array, rule.layout, rule.kernel), place.dtype, rule.source)
    file.seek(place.offset)
    return file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)


def _names(rule: TensorRule) -> tuple[str, ...]:
    return tuple(map(str, rule.target))


def _by_names(params: Params) -> dict[tuple[str, ...], LazyArray]:
    return {tuple(map(str, path)): leaf for path, leaf in traverse_util.flatten_dict(params).items()}

"""Exports parameters to a folder that diffusers loads: an import goes back out bit by bit."""

import contextlib
import dataclasses
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from sr_jax.conversion.components import CONFIG_FILE, KINDS
from sr_jax.conversion.imported import HEADER_SUFFIX, SOURCE_FOLDER, open_component, read_record
from sr_jax.conversion.rules import TensorRule, cast, name_list, their_shape, to_theirs
from sr_jax.conversion.safetensors_file import StoredTensor, file_size, parse_header
from sr_jax.conversion.shards import as_before, index_of, new_files
from sr_jax.conversion.weight_files import index_name
from sr_jax.errors import UserError
from sr_jax.models.cogvideox_config import CogVideoXConfig
from sr_jax.models.functional import Params
from sr_jax.parallel.lazy import LazyArray, row_groups
from sr_jax.parallel.stored import open_item

# Read at once of a stacked parameter.
_READ_BYTES = 2**29
MAX_SHARD_BYTES = 5 * 10**9
"""Weights in one file where the source does not say: what the hub recommends."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a pipeline, to export.

    Attributes:
        name: Of its kind.
        folder: Where it goes, relative to the output.
        config: Our configuration.
        stored: Its parameters as `LazyArray`, by their paths of names.
        headers: Headers of the files that the weights came from; empty when they came from no files.
        unchanged: Whether the numbers are those of the files.
    """

    name: str
    folder: str
    config: Any
    stored: Mapping[tuple[str, ...], LazyArray]
    headers: Mapping[str, bytes]
    unchanged: bool

    def rules(self) -> list[TensorRule]:
        """Where each tensor comes from."""
        return KINDS[self.name].conversion.rules(self.config)

    def tensors(self, dtype: np.dtype | None) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Type and shape of each tensor to write: of `dtype`, or as it was in the files, or as it is stored.

        Raises:
            UserError: Naming the parameters by which what is stored differs from the configuration.
        """
        wanted = {_names(rule) for rule in self.rules()}
        differing = {".".join(names) for names in wanted ^ self.stored.keys()}
        if differing:
            raise UserError(f"the stored {self.name} does not fit its configuration: {name_list(differing)} differ")
        before = {}
        if self.unchanged:
            for file, header in self.headers.items():
                before |= parse_header(header, Path(file))
        result = {}
        for rule in self.rules():
            leaf = self.stored[_names(rule)]
            shape = their_shape(leaf.shape if rule.layer is None else leaf.shape[1:], rule.layout, rule.kernel)
            own = before[rule.source].dtype if rule.source in before else np.dtype(leaf.dtype)
            result[rule.source] = (dtype or own, shape)
        return result


def imported_parts(folder: Path) -> list[Part]:
    """The parts of an imported pipeline.

    Raises:
        UserError: If `folder` is no import.
    """
    record = read_record(folder)
    parts = []
    for name, where in record.folders.items():
        config, params = open_component(folder, name)
        kept = sorted((folder / SOURCE_FOLDER / where).glob(f"*{HEADER_SUFFIX}"))
        headers = {path.name.removesuffix(HEADER_SUFFIX): path.read_bytes() for path in kept}
        parts.append(Part(name, where, config, _by_names(params), headers, unchanged=not record.dtype))
    return parts


def trained_transformer(item: Path, config: CogVideoXConfig, base: Sequence[Part] = ()) -> Part:
    """The transformer of a training run's checkpoint.

    Args:
        item: `ema_params` or `params` of a checkpoint.
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
            return Part("transformer", part.folder, config, stored, part.headers, unchanged=False)
    return Part("transformer", "transformer", config, stored, {}, unchanged=False)


def export(
    parts: Sequence[Part],
    output: Path,
    *,
    other_files: Path | None = None,
    dtype: str = "",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Callable[[str, int], Callable[[int], None]] = lambda name, total: lambda n: None,
) -> None:
    """Writes a folder that diffusers loads.

    It is written beside `output` and moved there at the end; what an interrupted run left is removed. A part of
    a parameter is in memory at a time.

    Args:
        parts: What to write.
        output: Folder to write; must not exist.
        other_files: `source` of an import: its files are copied, but for those that tell of weights that changed.
        dtype: Type of all weights; when empty, as the source's files have it, or as the parameters are stored.
        max_shard_bytes: Weights in one file where the source's division into files does not apply.
        progress: As for `import_pipeline`.

    Raises:
        UserError: If `output` exists, or a value is too large for `dtype`.
    """
    if output.exists():
        raise UserError(f"{output} exists: name a new folder, or remove it")
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if other_files is not None:
        shutil.copytree(other_files, partial, ignore=shutil.ignore_patterns(f"*{HEADER_SUFFIX}"), dirs_exist_ok=True)
    for part in parts:
        _export_part(part, partial / part.folder, dtype, max_shard_bytes, progress)
    partial.replace(output)


def _export_part(
    part: Part,
    folder: Path,
    dtype: str,
    max_shard_bytes: int,
    progress: Callable[[str, int], Callable[[int], None]],
) -> None:
    kind = KINDS[part.name]
    folder.mkdir(parents=True, exist_ok=True)
    _write_config(part, folder / CONFIG_FILE)
    tensors = part.tensors(jnp.dtype(dtype) if dtype else None)
    headers = as_before(tensors, part.headers) or new_files(tensors, kind.weights, max_shard_bytes)
    index = folder / index_name(kind.weights)
    if headers != part.headers:
        index.unlink(missing_ok=True)
    if len(headers) > 1 and not index.is_file():
        index.write_text(index_of(headers))
    total = sum(file_size(header, Path(file)) - len(header) for file, header in headers.items())
    _write_weights(part, folder, headers, progress(part.name, total))


def _write_config(part: Part, path: Path) -> None:
    """Leaves the source's own file where it says the same."""
    conversion = KINDS[part.name].conversion
    if not path.is_file() or conversion.config_from_diffusers(json.loads(path.read_text())) != part.config:
        path.write_text(json.dumps(conversion.config_to_diffusers(part.config), indent=2, sort_keys=True) + "\n")


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
                on_bytes(_write_tensor(rule, tensor, *places[rule.source]))


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
    tensor = cast(to_theirs(array, rule.layout, rule.kernel), place.dtype, rule.source)
    file.seek(place.offset)
    return file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)


def _names(rule: TensorRule) -> tuple[str, ...]:
    return tuple(map(str, rule.target))


def _by_names(params: Params) -> dict[tuple[str, ...], LazyArray]:
    return {tuple(map(str, path)): leaf for path, leaf in traverse_util.flatten_dict(params).items()}

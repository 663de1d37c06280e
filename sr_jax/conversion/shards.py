"""Which tensor an export puts into which file, where in it, and the index that says so."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sr_jax.conversion.safetensors_file import build_header, layout_order, parse_header

# What PyTorch's loaders ask for.
_METADATA = {"format": "pt"}

Tensors = Mapping[str, tuple[np.dtype, tuple[int, ...]]]
"""Type and shape of each tensor."""


def as_before(tensors: Tensors, headers: Mapping[str, bytes]) -> dict[str, bytes] | None:
    """The headers that put each tensor into the file where it was.

    The very same headers where types and shapes are the same; None where the tensors are not the same ones.

    Args:
        tensors: What will be written.
        headers: Of the files that the weights came from.
    """
    before = {file: parse_header(header, Path(file)) for file, header in headers.items()}
    if tensors.keys() != {name for entries in before.values() for name in entries}:
        return None
    result = {}
    for file, entries in before.items():
        wanted = {name: tensors[name] for name in entries}
        same = {name: (entry.dtype, entry.shape) for name, entry in entries.items()} == wanted
        result[file] = headers[file] if same else _header(wanted)
    return result


def new_files(tensors: Tensors, basename: str, max_bytes: int) -> dict[str, bytes]:
    """Headers of as few files as hold the tensors, in their order, with at most `max_bytes` of tensors in each.

    A tensor that is larger has a file of its own.
    """
    shards: list[dict[str, tuple[np.dtype, tuple[int, ...]]]] = [{}]
    size = 0
    for name, (dtype, shape) in tensors.items():
        nbytes = math.prod(shape) * dtype.itemsize
        if shards[-1] and size + nbytes > max_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = (dtype, shape)
        size += nbytes
    if len(shards) == 1:
        return {f"{basename}.safetensors": _header(shards[0])}
    count = len(shards)
    return {f"{basename}-{i:05}-of-{count:05}.safetensors": _header(shard) for i, shard in enumerate(shards, start=1)}


def index_of(headers: Mapping[str, bytes]) -> str:
    """The index file's content, as diffusers writes it."""
    files = {file: parse_header(header, Path(file)) for file, header in headers.items()}
    weight_map = {name: file for file, entries in files.items() for name in entries}
    total = sum(entry.nbytes for entries in files.values() for entry in entries.values())
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2, sort_keys=True) + "\n"


def _header(tensors: Tensors) -> bytes:
    order = layout_order((name, dtype) for name, (dtype, _) in tensors.items())
    return build_header({name: tensors[name] for name in order}, _METADATA)

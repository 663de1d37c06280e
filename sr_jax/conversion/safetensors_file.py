"""The safetensors file format: 8 bytes of header length, a JSON header, the tensors' bytes.

Read and written here without its library, because a header that is kept makes an export the same file bit by bit, and
because a file can then be written one tensor at a time, in any order.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from sr_jax.conversion.fields import shown
from sr_jax.errors import UserError

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """Where a tensor's bytes are in a file.

    Attributes:
        dtype: Of its values.
        shape: Its axes.
        offset: First byte, from the start of the file.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path) -> bytes:
    """The header of a file, with its length in front.

    Raises:
        UserError: If the file is no safetensors file, or is cut off.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > min(size - _LENGTH_BYTES, _MAX_HEADER_BYTES):
            raise UserError(f"{path} is no safetensors file, or only a part of one: download it again")
        file.seek(0)
        header = file.read(_LENGTH_BYTES + length)
    wanted = file_size(header, path)
    if size != wanted:
        raise UserError(f"{path} has {size} bytes, its header tells of {wanted}: download it again")
    return header


def parse_header(header: bytes, path: Path) -> dict[str, StoredTensor]:
    """The tensors of a header, in the order of its bytes.

    Args:
        header: What `read_header` returned.
        path: The file, for messages.

    Raises:
        UserError: If it is damaged or holds a type of number that no released model has.
    """
    try:
        entries = json.loads(header[_LENGTH_BYTES:])
        entries.pop("__metadata__", None)
        tensors = {name: _stored(entry, len(header)) for name, entry in entries.items()}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise UserError(
            f"{path} has a header that cannot be read ({shown(error)}): weights of {', '.join(_DTYPES)} are supported"
        ) from error
    tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].nbytes)))
    for (name, tensor), (other, after) in itertools.pairwise(tensors.items()):
        if tensor.offset + tensor.nbytes > after.offset:
            raise UserError(f"{path} has {shown(name)} and {shown(other)} in one place: download it again")
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """What a file says of itself beside its tensors; {} where it says nothing.

    Raises:
        UserError: As `read_header` and `parse_header`.
    """
    header = read_header(path)
    parse_header(header, path)
    found = json.loads(header[_LENGTH_BYTES:]).get("__metadata__") or {}
    if not isinstance(found, dict):
        raise UserError(f"{path} has a header that cannot be read: its metadata are no table of words")
    return found


def _stored(entry: Mapping[str, Any], start: int) -> StoredTensor:
    """A tensor as an entry of the header has it.

    Raises:
        ValueError, TypeError, KeyError: If the entry is none.
    """
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError("a size or a place is no whole number")
    tensor = StoredTensor(_DTYPES[entry["dtype"]], tuple(shape), start + begin)
    if end - begin != tensor.nbytes:
        raise ValueError(f"{tensor.nbytes} bytes are in {end - begin}")
    return tensor


def file_size(header: bytes, path: Path) -> int:
    """Bytes of the whole file that begins with `header`."""
    tensors = parse_header(header, path).values()
    return max((tensor.offset + tensor.nbytes for tensor in tensors), default=len(header))


def build_header(tensors: Mapping[str, tuple[np.dtype, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """A header for tensors of these types and shapes, laid out one after the other in this order.

    Its length is a multiple of 8, as the format asks for.
    """
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def layout_order(tensors: Iterable[tuple[str, np.dtype]]) -> list[str]:
    """The order in which the safetensors library lays tensors out: the widest numbers first, then by name."""
    ranks = {dtype: rank for rank, dtype in enumerate(map(_DTYPES.get, ("F64", "F32", "BF16", "F16")))}
    return [name for name, dtype in sorted(tensors, key=lambda item: (ranks[item[1]], item[0]))]


def map_tensor(path: Path, tensor: StoredTensor) -> np.ndarray:
    """A read-only view of one tensor on disk: only what is touched is read, and it is forgotten with the view."""
    if math.prod(tensor.shape) == 0:
        return np.zeros(tensor.shape, tensor.dtype)
    return np.memmap(path, tensor.dtype, mode="r", offset=tensor.offset, shape=tensor.shape)

"""Files that `torch.save` wrote before PyTorch 1.6, read without PyTorch.

Packages carry such files, and those who need one of them need no PyTorch for anything else. A file is five pickles (a
magic number, the version, the machine, the state dict, the keys of its storages) and then the storages: 8 bytes for
the number of values, and the values. What is unpickled may name ordered dicts and tensors; anything else is refused, so
that a file can run nothing. (`state_dict` reads what a user names, of any version, with PyTorch.)
"""

import collections
import pickle
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from sr_jax.errors import UserError

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_TYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
}


class _Tensor(NamedTuple):
    """A tensor, before the values of its storage are read."""

    key: str
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Makes nothing but ordered dicts, tensors and plain values."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise ValueError(f"it holds a {module}.{name}")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype]:
        _, dtype, key, *_ = pid
        return key, dtype


def _tensor(storage: tuple[str, np.dtype], offset: int, shape: tuple, strides: tuple, *_: Any) -> _Tensor:
    return _Tensor(*storage, offset, tuple(shape), tuple(strides))


def read_old_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Reads all tensors of a state dict.

    Args:
        path: The file.

    Raises:
        UserError: If it is missing, of another format, damaged, or holds anything but tensors.
    """
    try:
        with path.open("rb") as file:
            if _load(file) != _MAGIC or _load(file) != _VERSION:
                raise ValueError("it was not written by torch.save before PyTorch 1.6")
            _load(file)
            tensors, keys = _load(file), _load(file)
            types = {tensor.key: tensor.dtype for tensor in tensors.values()}
            storages = {key: _read_values(file, types[key]) for key in keys}
    # What is damaged or of another kind arrives as various built-in exceptions.
    except Exception as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error
    return {name: _view(storages[tensor.key], tensor) for name, tensor in tensors.items()}


def _load(file: IO[bytes]) -> Any:
    return _Unpickler(file).load()


def _read_values(file: IO[bytes], dtype: np.dtype) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little")
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise ValueError("it ends too early")
    return np.frombuffer(content, dtype)


def _view(storage: np.ndarray, tensor: _Tensor) -> np.ndarray:
    strides = tuple(stride * storage.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)

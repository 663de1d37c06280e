"""Pickles of nested dicts of NumPy arrays, read so that a file can run nothing."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from sr_jax.errors import UserError

# What NumPy's own pickles call to make an empty array, which is then filled.
_MAKE_ARRAY = np.zeros(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _MAKE_ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _MAKE_ARRAY,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _Unpickler(pickle.Unpickler):
    """Makes nothing but arrays and plain values."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ValueError(f"it holds a {module}.{name}")
        return _ALLOWED[module, name]


def read_arrays(path: Path) -> dict[str, Any]:
    """The nested dict of arrays in a pickle.

    Raises:
        UserError: If the file is missing, damaged, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file).load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    # What is damaged or of another kind arrives as various built-in exceptions.
    except Exception as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error
    return content

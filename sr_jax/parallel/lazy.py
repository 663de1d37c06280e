"""Arrays that are somewhere else until a part of them is wanted: in files, or still to be computed from others."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import DTypeLike

Index = tuple[slice | np.ndarray, ...]
"""A slice for each axis; for the first one, numbers of rows can stand in its place."""

AnyArray = Any
"""A `LazyArray`, or a NumPy or JAX array: what has a `shape` and a `dtype` and is read as `array[index]`."""


@dataclasses.dataclass(frozen=True)
class LazyArray:
    """An array of which parts can be had, each as a new NumPy array; nothing is kept.

    Attributes:
        shape: Of the array.
        dtype: Of the array.
        read: From an index, as long as `shape`, to that part.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Index], np.ndarray]

    def __getitem__(self, index: Index) -> np.ndarray:
        """Reads a part."""
        return np.asarray(self.read(index))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """Reads all of it: `np.asarray` and `jnp.asarray` take one like any array."""
        array = self[whole(self.shape)]
        return array if dtype is None else array.astype(dtype)

    def astype(self, dtype: DTypeLike) -> "LazyArray":
        """The same as another type of number: every part is converted when it is read."""
        if self.dtype == dtype:
            return self
        return LazyArray(self.shape, np.dtype(dtype), lambda index: self[index].astype(dtype))


def whole(shape: Sequence[int]) -> Index:
    """The index of all of an array."""
    return tuple(slice(0, size) for size in shape)


def row_groups(array: AnyArray, max_bytes: int) -> list[Index]:
    """Indices that take an array apart along its first axis: as many rows as fit `max_bytes`, at least one."""
    if not array.shape:
        return [()]
    rows, rest = array.shape[0], whole(array.shape[1:])
    step = max(1, max_bytes * rows // max(1, nbytes(array)))
    return [(slice(start, min(start + step, rows)), *rest) for start in range(0, rows, step)]


def take_rows(array: AnyArray, rows: Sequence[int]) -> LazyArray:
    """These rows of an array, of which no others are read."""
    kept = np.asarray(rows)
    return LazyArray((len(kept), *array.shape[1:]), array.dtype, lambda index: array[kept[index[0]], *index[1:]])


def first_rows(array: AnyArray, count: int) -> LazyArray:
    """The first rows of an array."""
    return take_rows(array, range(min(count, array.shape[0])))


def on_host(tree: Any) -> Any:
    """A tree of arrays of any kind as one of NumPy arrays."""
    return jax.tree.map(np.asarray, tree)


def nbytes(array: AnyArray) -> int:
    """Size of a whole array in bytes."""
    return int(np.prod(array.shape, dtype=np.int64)) * np.dtype(array.dtype).itemsize

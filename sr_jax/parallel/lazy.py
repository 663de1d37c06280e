"""Arrays that are somewhere else until a part of them is wanted: in files, or still to be computed from others."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import DTypeLike

Index = tuple[slice | np.ndarray, ...]
"""A slice of step 1 for each axis; for the first one, numbers of rows can stand in its place."""

AnyArray = Any
"""A `LazyArray`, or a NumPy or JAX array: what has a `shape` and a `dtype` and is read as `array[index]`."""


@dataclasses.dataclass(frozen=True)
class LazyArray:
    """An array of which parts can be had as NumPy arrays; nothing is kept.

    Attributes:
        shape: Of the array.
        dtype: Of the array.
        read: From an index, as long as `shape` and within it, to that part.
        rows: How many rows are read together: of fewer, others are read for nothing.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Index], np.ndarray]
    rows: int = 1

    def __getitem__(self, index: Index) -> np.ndarray:
        """Reads a part."""
        part = self.read(tuple(map(_within, index, self.shape)))
        return np.asarray(part).astype(self.dtype, copy=False)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """Reads all of it: `np.asarray` and `jnp.asarray` take one like any array."""
        return self[whole(self.shape)].astype(dtype or self.dtype, copy=False)

    def astype(self, dtype: DTypeLike) -> "LazyArray":
        """The same as another type of number: every part is converted when it is read."""
        return dataclasses.replace(self, dtype=np.dtype(dtype), read=self.__getitem__)


def _within(axis: slice | np.ndarray, size: int) -> slice | np.ndarray:
    """As NumPy takes a slice: what is beyond the end is not there, what is negative counts from it."""
    if not isinstance(axis, slice):
        return axis
    start, stop, _ = axis.indices(size)
    return slice(start, max(start, stop))


def whole(shape: Sequence[int]) -> Index:
    """The index of all of an array."""
    return tuple(slice(0, size) for size in shape)


def row_groups(array: AnyArray, max_bytes: int) -> list[Index]:
    """Indices that take an array apart along its first axis: as many rows as fit `max_bytes`, or are read together."""
    if not array.shape:
        return [()]
    count, together = array.shape[0], getattr(array, "rows", 1)
    fitting = max_bytes * count // max(1, nbytes(array))
    step = max(together, fitting - fitting % together)
    return [(slice(start, min(start + step, count)), *whole(array.shape[1:])) for start in range(0, count, step)]


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

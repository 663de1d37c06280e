"""From what each process holds to global arrays: rows of a batch, and whole arrays that all processes have."""

import bisect
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sr_jax.parallel.mesh import batch_sharding


def local_rows(batch_size: int, mesh: Mesh) -> tuple[int, ...]:
    """The rows of a global batch that this process's devices need, ascending.

    Over all processes they cover the batch. Processes whose devices are apart on `context` or `tensor` only need the
    same rows; others share none.
    """
    indices = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    return tuple(sorted({row for (rows,) in indices.values() for row in range(*rows.indices(batch_size))}))


def to_global(batch: Mapping[str, np.ndarray], batch_size: int, mesh: Mesh) -> dict[str, jax.Array]:
    """Puts this process's rows of a batch on its devices, as part of the global batch.

    Args:
        batch: Arrays `[r, ...]` of the r rows that `local_rows` names.
        batch_size: Rows of the global batch.
        mesh: The mesh.
    """
    rows = local_rows(batch_size, mesh)
    where = batch_sharding(mesh)

    def globally(array: np.ndarray) -> jax.Array:
        def part(index: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = index[0].indices(batch_size)
            first = bisect.bisect_left(rows, start)
            return array[(slice(first, first + stop - start), *index[1:])]

        return jax.make_array_from_callback((batch_size, *array.shape[1:]), where, part)

    return {name: globally(array) for name, array in batch.items()}


def place(tree: Any, shardings: Any) -> Any:
    """Puts arrays that every process has whole onto a mesh; a device gets its part and no more.

    Args:
        tree: Tree of NumPy arrays.
        shardings: Where each goes.
    """
    return jax.tree.map(
        lambda array, where: jax.make_array_from_callback(array.shape, where, lambda index: array[index]),
        tree,
        shardings,
    )

"""From what each process holds to global arrays: rows of a batch, and whole arrays that all processes have."""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, Sharding, SingleDeviceSharding

from sr_jax.parallel.lazy import AnyArray
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
    """Puts arrays that every process can read onto devices; a device gets its part and no more.

    One array after the other: of each, host memory holds the smallest box around the parts of this process's devices
    (and what that is computed from), until they have them. On a CPU a NumPy array may serve as it is: leave it alone.

    Args:
        tree: Tree of arrays of any kind (`sr_jax.parallel.lazy`).
        shardings: Where each goes.
    """
    return jax.tree.map(_place, tree, shardings)


def to_first_device(tree: Any) -> Any:
    """Puts arrays of any kind onto this process's first device, one after the other."""
    device = SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda array: _place(array, device), tree)


def bounding_box(indices: Iterable[tuple[slice, ...]], shape: Sequence[int]) -> tuple[slice, ...]:
    """The smallest part of an array of this shape that holds all of these parts, of which there is at least one."""
    bounds = ([axis.indices(size)[:2] for axis, size in zip(index, shape, strict=True)] for index in indices)
    return tuple(slice(min(starts), max(stops)) for starts, stops in (zip(*axis) for axis in zip(*bounds)))


def _place(array: AnyArray, where: Sharding) -> jax.Array:
    # Read once: what neighbouring devices need lies in the same pieces of a file.
    box = bounding_box(where.addressable_devices_indices_map(array.shape).values(), array.shape)
    local = np.asarray(array[box])

    def part(index: tuple[slice, ...]) -> np.ndarray:
        bounds = (axis.indices(size)[:2] for axis, size in zip(index, array.shape, strict=True))
        shifted = (slice(i - axis.start, j - axis.start) for (i, j), axis in zip(bounds, box, strict=True))
        # The dots keep an array of no axes an array.
        return local[*shifted, ...]

    # Waiting, because the devices take their time, and the host's memory would fill with what they have not taken yet.
    return jax.block_until_ready(jax.make_array_from_callback(array.shape, where, part))

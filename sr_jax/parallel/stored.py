"""Parameters in Orbax checkpoints, written and read part by part.

An item of a checkpoint holds `{name: parameters}`.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from flax import traverse_util

from sr_jax.errors import UserError
from sr_jax.parallel.lazy import AnyArray, Index, LazyArray, nbytes, row_groups, whole

# Pieces on disk: what is read at least for a part of a parameter, and what Orbax holds back before it writes a file.
_CHUNK_BYTES = 64 * 2**20
_FILE_BYTES = 512 * 2**20
# Rows of this size, those of stacked kernels, are chunks of their own, so that they can be written and read alone.
_LARGE_ROW_BYTES = 2**20
# In memory at once while writing.
_PART_BYTES = 256 * 2**20
# TensorStore's messages end in the whole description of an array.
_MESSAGE_LENGTH = 200

Tree = dict[str, Any]
"""Nested dict with arrays of any kind as leaves."""


class _LazyHandler(ocp.type_handlers.NumpyHandler):
    """Writes arrays as Orbax writes NumPy's, several small ones or a part of a large one at a time; restoring opens."""

    async def serialize(
        self, values: Sequence[LazyArray], infos: Sequence[Any], args: Sequence[Any] | None = None
    ) -> list[Any]:
        """Returns nothing to wait for: all is written."""
        writes = zip(values, infos, args or [ocp.SaveArgs()] * len(values), strict=True)
        for group in _groups(writes, _PART_BYTES):
            if len(group) > 1:
                # Read before any is written: an error then leaves none under way.
                group = [(np.asarray(value), info, arg) for value, info, arg in group]
            await asyncio.gather(*(_write(*write) for write in group))
        return []

    async def deserialize(self, infos: Sequence[Any], args: Sequence[Any] | None = None) -> list[LazyArray]:
        """Reads shapes and types."""
        return [await _open(info) for info in infos]


async def _write(value: AnyArray, info: Any, arg: ocp.SaveArgs) -> None:
    await info.await_path_creation()
    spec = ocp.type_handlers.get_json_tspec_write(
        info,
        use_ocdbt=info.is_ocdbt_checkpoint,
        global_shape=value.shape,
        local_shape=value.shape,
        dtype=value.dtype,
        process_index=jax.process_index(),
        arg=arg,
    )
    array = await tensorstore.open(tensorstore.Spec(spec), create=True, open=True, context=info.ts_context)
    # Only whole chunks: of a part of one TensorStore would read the rest back.
    for index in row_groups(value, _PART_BYTES) if _has_large_rows(value) else [whole(value.shape)]:
        await array[index].write(np.asarray(value[index]), can_reference_source_data_indefinitely=True)


def _groups(writes: Iterable[tuple[LazyArray, Any, Any]], max_bytes: int) -> Iterator[list[tuple[LazyArray, Any, Any]]]:
    """Writes to do at once: as many as fit `max_bytes`, or one that is larger."""
    group: list[tuple[LazyArray, Any, Any]] = []
    size = 0
    for write in writes:
        if group and size + nbytes(write[0]) > max_bytes:
            yield group
            group, size = [], 0
        group.append(write)
        size += nbytes(write[0])
    yield group


async def _open(info: Any) -> LazyArray:
    spec = ocp.type_handlers.get_json_tspec_read(
        info,
        use_ocdbt=info.is_ocdbt_checkpoint,
        raise_array_data_missing_error=info.raise_array_data_missing_error,
    )
    array = await tensorstore.open(tensorstore.Spec(spec), open=True, context=info.ts_context)

    def read(index: Index) -> np.ndarray:
        try:
            return array[index].read().result()
        except ValueError as error:
            raise UserError(
                f"{info.parent_dir}: {info.name} cannot be read ({_first_line(error)}): the checkpoint is damaged, or "
                "the run that wrote it has removed it since; name another one"
            ) from error

    shape = tuple(array.shape)
    return LazyArray(shape, array.dtype.numpy_dtype, read, array.chunk_layout.read_chunk.shape[0] if shape else 1)


def save_item(path: Path, name: str, params: Tree) -> None:
    """Writes `{name: params}` to `path`; see `save_tree`."""
    save_tree(path, {name: params})


def save_tree(path: Path, tree: Tree) -> None:
    """Writes a tree to `path`, whole or not at all; for one process.

    Host memory holds 256 MiB at a time: of arrays with large rows some rows, of others several; or one that is larger.
    """
    tree = jax.tree.map(_lazy, tree)
    arguments = ocp.args.PyTreeSave(
        tree, save_args=jax.tree.map(save_args, tree), ocdbt_target_data_file_size=_FILE_BYTES
    )
    with ocp.Checkpointer(_handler()) as checkpointer:
        checkpointer.save(path.absolute(), args=arguments)


def open_item(path: Path) -> Tree:
    """The tree that an item holds, of `LazyArray`; the numbers of a list's modules are words in it, as Orbax has them.

    Raises:
        UserError: If there is no such item, or it is damaged; also when a part is read that is damaged or gone.
    """
    if not path.is_dir():
        raise UserError(f"{path} does not exist: this checkpoint has no {path.name}")
    handler = _handler()
    try:
        leaves = traverse_util.flatten_dict(handler.metadata(path.absolute()).tree)
        restore_args = traverse_util.unflatten_dict({names: ocp.RestoreArgs(LazyArray) for names in leaves})
        return handler.restore(path.absolute(), args=ocp.args.PyTreeRestore(restore_args=restore_args))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({_first_line(error)}): the checkpoint is damaged") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:_MESSAGE_LENGTH]


def _handler() -> ocp.PyTreeCheckpointHandler:
    # That of JAX's arrays is for what Orbax keeps about them beside the numbers, and is quiet only where it is there.
    handlers = (LazyArray, _LazyHandler()), (jax.Array, ocp.type_handlers.ArrayHandler())
    return ocp.PyTreeCheckpointHandler(type_handler_registry=ocp.type_handlers.create_type_handler_registry(*handlers))


def save_args(array: AnyArray) -> ocp.SaveArgs:
    """How Orbax is to divide an array on disk: rows that are large, on each device, are pieces of their own."""
    return ocp.SaveArgs(chunk_byte_size=_CHUNK_BYTES, shard_axes=(0,) if _has_large_rows(array) else ())


def _has_large_rows(array: AnyArray) -> bool:
    shape = array.sharding.shard_shape(array.shape) if isinstance(array, jax.Array) else array.shape
    return len(shape) > 1 and math.prod(shape[1:]) * array.dtype.itemsize >= _LARGE_ROW_BYTES


def _lazy(leaf: AnyArray) -> LazyArray:
    if isinstance(leaf, LazyArray):
        return leaf
    return LazyArray(leaf.shape, leaf.dtype, lambda index: np.asarray(leaf[index]))

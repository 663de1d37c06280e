"""Parameters in Orbax checkpoints, in the layout of a training workdir, read and written within little memory.

`<folder>/checkpoints/<step>/<item>` holds `{name: parameters}` (see `sr_jax.training.checkpoints`).
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from jax.typing import DTypeLike

from sr_jax.conversion.rules import name_list
from sr_jax.errors import UserError
from sr_jax.models.functional import Params

# Pieces on disk: what is read at least for a part of a parameter, and what Orbax holds back before it writes a file.
_CHUNK_BYTES = 64 * 2**20
_FILE_BYTES = 512 * 2**20


@dataclasses.dataclass(frozen=True)
class LazyArray:
    """An array that is made when it is written.

    Attributes:
        shape: Of the array.
        dtype: Of the array.
        read: Makes it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


class _LazyHandler(ocp.type_handlers.NumpyHandler):
    """Writes lazy arrays as Orbax writes NumPy's, each before the next is made."""

    async def serialize(
        self, values: Sequence[LazyArray], infos: Sequence[Any], args: Sequence[Any] | None = None
    ) -> list[Any]:
        """Returns nothing to wait for: all is written."""
        for value, info, arg in zip(values, infos, args or [ocp.SaveArgs()] * len(values), strict=True):
            for written in await super().serialize([value.read()], [info], [arg]):
                written.result()
        return []


def save_item(path: Path, name: str, params: Params) -> None:
    """Writes `{name: params}` to `path`, whole or not at all; leaves are `LazyArray`, or JAX or NumPy arrays.

    Host memory holds one lazy array at a time.
    """
    tree = jax.tree.map(_lazy, {name: params})
    save_args = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=_CHUNK_BYTES), tree)
    arguments = ocp.args.PyTreeSave(tree, save_args=save_args, ocdbt_target_data_file_size=_FILE_BYTES)
    handler = (LazyArray, _LazyHandler(deepcopy_host_arrays=False))
    registry = ocp.type_handlers.create_type_handler_registry(handler)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(type_handler_registry=registry)) as checkpointer:
        checkpointer.save(path.absolute(), args=arguments)


def _lazy(leaf: LazyArray | jax.Array | np.ndarray) -> LazyArray:
    if isinstance(leaf, LazyArray):
        return leaf
    return LazyArray(leaf.shape, leaf.dtype, lambda: np.asarray(leaf))


class StoredParams:
    """The parameters of one module in a checkpoint; opening reads none of them.

    Attributes:
        leaves: Shape and type of each, by its path of names.
    """

    def __init__(self, path: Path, name: str):
        """Opens `path`, an item that holds `{name: parameters}`.

        Raises:
            UserError: If there is no such item or name.
        """
        if not path.is_dir():
            raise UserError(f"{path} does not exist: this checkpoint has no {name}")
        self._path, self._name = path.absolute(), name
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            tree = checkpointer.metadata(self._path).item_metadata.tree
        if name not in tree:
            raise UserError(f"{path} holds {', '.join(tree)}, not {name}")
        self.leaves = {
            keys: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
            for keys, leaf in traverse_util.flatten_dict(tree[name]).items()
        }

    def groups(self, max_bytes: int) -> Iterator[dict[tuple[str, ...], np.ndarray]]:
        """All parameters as NumPy arrays, some at a time: as many as fit `max_bytes`, or one that is larger."""
        groups: list[dict[tuple[str, ...], ocp.RestoreArgs]] = [{}]
        size = 0
        for names, leaf in self.leaves.items():
            if groups[-1] and size + _nbytes(leaf) > max_bytes:
                groups.append({})
                size = 0
            groups[-1][names] = ocp.RestoreArgs(restore_type=np.ndarray)
            size += _nbytes(leaf)
        yield from map(self._read, groups)

    def load(
        self, abstract: Params, *, shardings: Mapping[str, Any] | None = None, dtype: DTypeLike | None = None
    ) -> Params:
        """Reads all parameters.

        Args:
            abstract: The module's abstract parameters: the structure and the shapes wanted.
            shardings: Where each goes, in the same structure; None for NumPy arrays.
            dtype: Of the result; as stored when None.

        Raises:
            UserError: Naming the parameters that do not fit `abstract`.
        """
        paths = {_names(path): path for path in traverse_util.flatten_dict(abstract)}
        self._require_same(traverse_util.flatten_dict(abstract))
        where = traverse_util.flatten_dict(shardings) if shardings is not None else {}
        args = {
            names: ocp.ArrayRestoreArgs(sharding=where[path], dtype=dtype)
            if where
            else ocp.RestoreArgs(restore_type=np.ndarray, dtype=dtype)
            for names, path in paths.items()
        }
        return traverse_util.unflatten_dict({paths[names]: leaf for names, leaf in self._read(args).items()})

    def _read(self, args: Mapping[tuple[str, ...], ocp.RestoreArgs]) -> dict[tuple[str, ...], Any]:
        restore_args = {self._name: traverse_util.unflatten_dict(args)}
        wanted = ocp.args.PyTreeRestore(
            item=jax.tree.map(lambda _: 0, restore_args), restore_args=restore_args, partial_restore=True
        )
        limit = concurrent_gb([self.leaves[names] for names in args])
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(restore_concurrent_gb=limit)) as checkpointer:
            return traverse_util.flatten_dict(checkpointer.restore(self._path, args=wanted)[self._name])

    def _require_same(self, wanted: Mapping[tuple[str | int, ...], Any]) -> None:
        shapes = {".".join(_names(path)): tuple(leaf.shape) for path, leaf in wanted.items()}
        found = {".".join(names): tuple(leaf.shape) for names, leaf in self.leaves.items()}
        differing = {name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name)}
        if differing:
            raise UserError(f"{self._path} does not fit its configuration: {name_list(differing)} differ")


def concurrent_gb(leaves: Iterable[Any]) -> int:
    """What Orbax may read at once: one parameter at least must fit."""
    return max(map(_nbytes, leaves), default=0) // 10**9 + 1


def _nbytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def _names(path: tuple[str | int, ...]) -> tuple[str, ...]:
    """Orbax keeps the numbers of a list's modules as words."""
    return tuple(map(str, path))

"""Weights from disk straight into the sharding they are wanted in, one tensor at a time."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from sr_jax.conversion.rules import TensorRule, cast, check_tensors, expected_shapes, to_ours
from sr_jax.conversion.store import LazyArray
from sr_jax.conversion.weight_files import WeightFiles
from sr_jax.models.functional import Params


def read_params(
    weights: WeightFiles,
    rules: Sequence[TensorRule],
    abstract: Params,
    shardings: Mapping[str, Any],
    *,
    dtype: np.dtype | None = None,
    on_bytes: Callable[[int], None] = lambda n: None,
) -> Params:
    """Reads a component's weights.

    On the host there is never more than one tensor beside the arrays that are filled: a stacked array is filled row by
    row, in place. Every process reads only the parts that its own devices hold.

    Args:
        weights: The files.
        rules: Where each tensor goes.
        abstract: Our model's abstract parameters.
        shardings: Sharding of each parameter, in the structure of `abstract`.
        dtype: Of all parameters; None keeps what the files hold (the wider one, exactly, where blocks differ).
        on_bytes: Called with the size of each tensor that was read.

    Returns:
        The parameters, as JAX arrays.

    Raises:
        UserError: Naming every missing, unexpected and misshapen tensor.
    """
    check_tensors(rules, weights.shapes(), expected_shapes(rules, abstract))
    flat_shardings = traverse_util.flatten_dict(shardings)
    shapes = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(abstract).items()}
    dtypes = _dtypes(weights, rules, dtype)
    by_source = {rule.source: rule for rule in rules}
    params: dict[tuple[str | int, ...], jax.Array] = {}
    for name, (_, stored) in weights.tensors.items():
        rule = by_source[name]
        path = rule.target
        tensor = to_ours(weights.map(name), rule.layout)
        put = functools.partial(_put, tensor, dtype=dtypes[path], name=name)
        if rule.layer is None:
            params[path] = put(flat_shardings[path])
        else:
            stack = params.get(path)
            if stack is None:
                stack = _zeros(shapes[path], dtypes[path], flat_shardings[path])()
            row = put(_row_sharding(flat_shardings[path]))
            params[path] = _row_setter(flat_shardings[path])(stack, row, rule.layer)
            # The host runs ahead of the devices: rows that wait for their turn would fill the memory.
            params[path].block_until_ready()
        on_bytes(stored.nbytes)
    return traverse_util.unflatten_dict(params)


def lazy_params(
    weights: WeightFiles,
    rules: Sequence[TensorRule],
    abstract: Params,
    *,
    dtype: np.dtype | None = None,
    on_bytes: Callable[[int], None] = lambda n: None,
) -> Params:
    """A component's weights as `LazyArray`, which are read one by one; arguments and errors are those of `read_params`.

    Raises:
        UserError: When one is read and has values too large for `dtype`.
    """
    check_tensors(rules, weights.shapes(), expected_shapes(rules, abstract))
    shapes = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(abstract).items()}
    dtypes = _dtypes(weights, rules, dtype)
    by_target: dict[tuple[str | int, ...], list[TensorRule]] = {}
    for rule in rules:
        by_target.setdefault(rule.target, []).append(rule)

    def read(path: tuple[str | int, ...]) -> np.ndarray:
        array = np.empty(shapes[path], dtypes[path])
        for rule in by_target[path]:
            tensor = to_ours(weights.map(rule.source), rule.layout)
            array[... if rule.layer is None else rule.layer] = cast(tensor, dtypes[path], rule.source)
            on_bytes(weights.tensors[rule.source][1].nbytes)
        return array

    lazy = {path: LazyArray(shapes[path], dtypes[path], functools.partial(read, path)) for path in by_target}
    return traverse_util.unflatten_dict(lazy)


def _dtypes(
    weights: WeightFiles, rules: Sequence[TensorRule], dtype: np.dtype | None
) -> dict[tuple[str | int, ...], np.dtype]:
    found: dict[tuple[str | int, ...], np.dtype] = {}
    for rule in rules:
        stored = weights.tensors[rule.source][1].dtype
        found[rule.target] = jnp.promote_types(found.get(rule.target, stored), stored) if dtype is None else dtype
    return found


def _put(tensor: np.ndarray, sharding: Sharding, *, dtype: np.dtype, name: str) -> jax.Array:
    def part(index: tuple[slice, ...]) -> np.ndarray:
        # A copy in any case: JAX may take an array over as it is, and this one is a file.
        return np.array(cast(tensor[index], dtype, name), order="C")

    return jax.make_array_from_callback(tensor.shape, sharding, part)


def _row_sharding(sharding: Sharding) -> Sharding:
    """The sharding of one row of a stacked array, whose rows are on all devices or split within themselves."""
    if isinstance(sharding, SingleDeviceSharding):
        return sharding
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))


@functools.cache
def _zeros(shape: tuple[int, ...], dtype: np.dtype, sharding: Sharding) -> Callable[[], jax.Array]:
    return jax.jit(functools.partial(jnp.zeros, shape, dtype), out_shardings=sharding)


@functools.cache
def _row_setter(sharding: Sharding) -> Callable[..., jax.Array]:
    """Puts a row into a stacked array in place."""

    def set_row(stack: jax.Array, row: jax.Array, layer: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(stack, row, layer, 0)

    return jax.jit(set_row, donate_argnums=0, out_shardings=sharding)

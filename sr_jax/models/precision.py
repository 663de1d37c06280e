"""Storing what is computed in float32 in fewer bits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from sr_jax.errors import UserError

_TYPES = ("float32", "bfloat16")


def storage_type(name: str, value: str) -> jnp.dtype:
    """The type that `config.<name>` asks for.

    Raises:
        UserError: When it is neither float32 nor bfloat16.
    """
    if value not in _TYPES:
        raise UserError(f"config.{name} is {value!r}: choose {' or '.join(_TYPES)}")
    return jnp.dtype(value)


def stochastic_round(x: Float[Array, "*shape"], key: jax.Array) -> Float[Array, "*shape"]:
    """Rounds float32 to one of the two neighbours in bfloat16, the nearer one more often, so that the mean is exact.

    Rounding to the nearest would lose every update below 1/256 of a parameter. What bfloat16 holds stays what it is.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    # The lower half of the bits is what bfloat16 lacks: it is the chance that the sum carries into the upper half.
    noisy = bits + jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    rounded = jax.lax.bitcast_convert_type(noisy & jnp.uint32(0xFFFF0000), jnp.float32)
    return jnp.where(jnp.isfinite(x), rounded, x).astype(jnp.bfloat16)


def to_float32(tree: PyTree) -> PyTree:
    """The tree with its bfloat16 arrays in float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, tree)


def store(tree: PyTree, like: PyTree, key: jax.Array) -> PyTree:
    """The tree in the types of `like`: float32 becomes bfloat16 by stochastic rounding."""
    leaves, structure = jax.tree.flatten(tree)
    stored = [
        stochastic_round(x, jax.random.fold_in(key, i)) if old.dtype == jnp.bfloat16 else x
        for i, (x, old) in enumerate(zip(leaves, jax.tree.leaves(like), strict=True))
    ]
    return jax.tree.unflatten(structure, stored)


class StoredState(NamedTuple):
    """State of `stored_in`: the number of updates, and the rule's own state."""

    count: jax.Array
    inner: PyTree


def stored_in(rule: optax.GradientTransformation, dtype: DTypeLike, seed: int) -> optax.GradientTransformation:
    """`rule` with the float32 arrays of its state stored in `dtype`; it computes in float32.

    Args:
        rule: The rule.
        dtype: float32 leaves the rule as it is; bfloat16 rounds stochastically.
        seed: Of the rounding, which depends on this and the number of updates alone.
    """
    if dtype == jnp.float32:
        return rule

    def init(params: PyTree) -> StoredState:
        inner = rule.init(params)
        cast = jax.tree.map(lambda x: x.astype(dtype) if x.ndim and x.dtype == jnp.float32 else x, inner)
        return StoredState(jnp.zeros((), jnp.int32), cast)

    def update(updates: PyTree, state: StoredState, params: PyTree = None) -> tuple[PyTree, StoredState]:
        updates, inner = rule.update(updates, to_float32(state.inner), params)
        key = jax.random.fold_in(jax.random.key(seed), state.count)
        return updates, StoredState(state.count + 1, store(inner, state.inner, key))

    return optax.GradientTransformation(init, update)

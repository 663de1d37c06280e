"""The weights of a diffusers folder in our layout, read from its files where they are wanted."""

import functools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from sr_jax.conversion.rules import TensorRule, cast, check_tensors, expected_shapes, require_finite, to_ours
from sr_jax.conversion.weight_files import WeightFiles
from sr_jax.models.functional import Params
from sr_jax.parallel.lazy import Index, LazyArray


def lazy_params(
    weights: WeightFiles,
    rules: Sequence[TensorRule],
    abstract: Params,
    *,
    dtype: np.dtype | None = None,
    on_bytes: Callable[[int], None] = lambda n: None,
) -> Params:
    """A component's weights as `LazyArray`; of a stacked one each row is a tensor in the files.

    Args:
        weights: The files.
        rules: Where each tensor goes.
        abstract: Our model's abstract parameters.
        dtype: Of all parameters; None keeps what the files hold (the wider one, exactly, where blocks differ).
        on_bytes: Called with the size of each tensor that is read, whole or in part.

    Raises:
        UserError: Naming every missing, unexpected and misshapen tensor; and when a part is read that has values that
            are not finite, or too large for `dtype`.
    """
    check_tensors(rules, weights.shapes(), expected_shapes(rules, abstract))
    shapes = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(abstract).items()}
    dtypes = _dtypes(weights, rules, dtype)
    by_target: dict[tuple[str | int, ...], dict[int | None, TensorRule]] = {}
    for rule in rules:
        by_target.setdefault(rule.target, {})[rule.layer] = rule

    def read(path: tuple[str | int, ...], index: Index) -> np.ndarray:
        tensors = by_target[path]
        if None in tensors:
            # A copy in any case: what is mapped is a file.
            return np.array(map_part(tensors[None], index), order="C")
        layers = np.arange(len(tensors))[index[0]]
        within = [len(range(size)[axis]) for axis, size in zip(index[1:], shapes[path][1:], strict=True)]
        array = np.empty((len(layers), *within), dtypes[path])
        for i, layer in enumerate(layers):
            array[i] = map_part(tensors[layer], index[1:])
        return array

    def map_part(rule: TensorRule, index: Index) -> np.ndarray:
        on_bytes(weights.tensors[rule.source][1].nbytes)
        tensor = to_ours(weights.map(rule.source), rule.layout)[index]
        require_finite(tensor, rule.source)
        return cast(tensor, dtypes[rule.target], rule.source)

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

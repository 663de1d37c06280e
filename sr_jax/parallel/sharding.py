"""From the logical axis names on parameters to shardings on a mesh; strict, so nothing is replicated by accident."""

import dataclasses
import math
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

LAYERS = "layers"
"""Logical name of the stacked axis that scanned blocks have in front of their own axes."""


@dataclasses.dataclass(frozen=True)
class ShardingRules:
    """Maps each logical axis name to a mesh axis, or to None for "not split".

    A name that is not a field is an error: a new kind of parameter needs a decision, not a default. Within one
    parameter a mesh axis is used once, by the first logical axis that claims it and whose size it divides.
    """

    layers: str | None = None
    embed: str | None = "fsdp"
    mlp: str | None = "tensor"
    heads: str | None = "tensor"
    head_dim: str | None = None
    time: str | None = None
    text: str | None = None
    vocab: str | None = "tensor"
    patch: str | None = None
    positions: str | None = None
    conv_in: str | None = None
    conv_out: str | None = "fsdp"
    kernel: str | None = None
    norm: str | None = None
    embedding: str | None = None
    lora_rank: str | None = None

    def spec(self, logical_axes: tuple[str, ...], shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
        """The partition of one parameter.

        Args:
            logical_axes: One name for each axis; a scanned parameter has one axis more in front.
            shape: The parameter's shape.
            mesh: The mesh it will live on.

        Raises:
            KeyError: When a name is not a field of the rules.
            ValueError: When the names do not fit the number of axes.
        """
        if len(shape) == len(logical_axes) + 1:
            logical_axes = (LAYERS, *logical_axes)
        if len(shape) != len(logical_axes):
            raise ValueError(f"{logical_axes} names {len(logical_axes)} axes of a parameter of shape {shape}")
        names = dataclasses.asdict(self)
        used: set[str] = set()
        spec = []
        for name, size in zip(logical_axes, shape, strict=True):
            mesh_axis = names[name]
            if mesh_axis is None or mesh_axis in used or size % mesh.shape[mesh_axis]:
                spec.append(None)
            else:
                used.add(mesh_axis)
                spec.append(mesh_axis)
        return PartitionSpec(*spec)


def param_shardings(abstract: nnx.State, mesh: Mesh, rules: ShardingRules) -> dict[str, Any]:
    """Shardings for every parameter of a module, in the structure of its pure parameter dict.

    Args:
        abstract: The module's parameters with their metadata (`Functional.abstract`).
        mesh: The mesh.
        rules: What each logical axis name is split over.

    Raises:
        ValueError: Naming each parameter that has no `logical_axes`, or whose names the rules do not know.
    """
    problems = []

    def one(path: tuple[Any, ...], variable: nnx.Param) -> NamedSharding | None:
        try:
            logical_axes = variable.get_metadata()["logical_axes"]
            return NamedSharding(mesh, rules.spec(logical_axes, variable.get_value().shape, mesh))
        except (KeyError, ValueError) as error:
            problems.append(f"{'/'.join(str(getattr(key, 'key', key)) for key in path)}: {error}")
            return None

    flat = nnx.to_flat_state(abstract)
    shardings = [(path, one(path, variable)) for path, variable in flat]
    if problems:
        raise ValueError("parameters that no sharding rule matches: " + "; ".join(problems))
    return nnx.to_pure_dict(nnx.from_flat_state(shardings))


def like(shardings: dict[str, Any], tree: Any, mesh: Mesh) -> Any:
    """Shardings for a tree that holds copies of the parameters (optimizer moments) among scalars.

    Every sub-tree with the structure and shapes of the parameters gets their shardings; all other leaves are
    replicated.

    Args:
        shardings: The parameters' shardings.
        tree: Abstract tree, for example `jax.eval_shape(optimizer.init, params)`.
        mesh: The mesh.
    """
    structure = jax.tree.structure(shardings)
    replicated = NamedSharding(mesh, PartitionSpec())

    def is_params(node: Any) -> bool:
        return jax.tree.structure(node) == structure

    def assign(node: Any) -> Any:
        return jax.tree.map(_fitting, node, shardings) if is_params(node) else replicated

    def _fitting(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> NamedSharding:
        return sharding if len(leaf.shape) >= len(sharding.spec) else replicated

    return jax.tree.map(assign, tree, is_leaf=is_params)


def bytes_per_device(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> int:
    """How many bytes of `leaf` one device holds under `sharding`."""
    return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize

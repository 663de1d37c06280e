"""From the logical axis names on parameters to shardings on a mesh; strict, so nothing is replicated by accident."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sr_jax.errors import UserError
from sr_jax.parallel.mesh import AXES

LAYERS = "layers"
"""Logical name of the stacked axis that scanned blocks have in front of their own axes."""


MeshAxes = str | tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class ShardingRules:
    """Maps each logical axis name to mesh axes, or to None for "not split".

    A name that is not a field is an error: a new kind of parameter needs a decision, not a default. Within one
    parameter a mesh axis is used once, by the first logical axis that claims it and whose size it divides. The
    transformers' kernels are split over `context` too: its devices have other tokens, but would hold the same kernels.
    """

    layers: MeshAxes = None
    embed: MeshAxes = ("fsdp", "context")
    mlp: MeshAxes = "tensor"
    heads: MeshAxes = "tensor"
    head_dim: MeshAxes = None
    time: MeshAxes = None
    text: MeshAxes = None
    vocab: MeshAxes = "tensor"
    patch: MeshAxes = None
    positions: MeshAxes = None
    conv_in: MeshAxes = None
    conv_out: MeshAxes = "fsdp"
    kernel: MeshAxes = None
    norm: MeshAxes = None
    embedding: MeshAxes = None
    lora_rank: MeshAxes = None
    # The axis, of size 1, along which a kernel of integers has one scale for all.
    scale: MeshAxes = None

    @classmethod
    def of(cls, changes: Mapping[str, Any]) -> "ShardingRules":
        """The usual rules, but for those that a config changes.

        Raises:
            UserError: For a name that is no field of the rules, or what is no axis of the mesh.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name, wanted in changes.items():
            if name not in names:
                raise UserError(f"config.sharding names {name!r}: choose among {', '.join(names)}")
            axes = (wanted,) if isinstance(wanted, str) else () if wanted is None else wanted
            if not isinstance(axes, tuple) or not set(axes) <= set(AXES):
                raise UserError(
                    f"config.sharding.{name} is {wanted!r}: name axes of the mesh, {', '.join(AXES)}, or None"
                )
        return cls(**changes)

    def spec(self, logical_axes: tuple[str, ...], shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
        """The partition of one parameter; mesh axes of size 1 split nothing and are left out.

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
            wanted = names[name] or ()
            chosen: list[str] = []
            for axis in (wanted,) if isinstance(wanted, str) else wanted:
                ways = math.prod(mesh.shape[other] for other in (*chosen, axis))
                if mesh.shape[axis] > 1 and axis not in used and size % ways == 0:
                    chosen.append(axis)
            used.update(chosen)
            spec.append(tuple(chosen) if len(chosen) > 1 else chosen[0] if chosen else None)
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


def like(params: Any, tree: Any, mesh: Mesh) -> Any:
    """Shardings for a tree that holds copies of the parameters (optimizer moments) among other arrays.

    An array whose path ends in that of a parameter, and which has its shape, gets its sharding. All others are
    replicated: counters, and the row and column means of factored moments, which are small.

    Args:
        params: The parameters, or their shapes, with their shardings.
        tree: Abstract tree, for example `jax.eval_shape(optimizer.init, params)`.
        mesh: The mesh.
    """
    by_path = {_names(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    replicated = NamedSharding(mesh, PartitionSpec())

    def one(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        names = _names(path)
        for start in range(len(names)):
            param = by_path.get(names[start:])
            if param is not None and param.shape == leaf.shape:
                return param.sharding
        return replicated

    return jax.tree_util.tree_map_with_path(one, tree)


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def bytes_per_device(leaf: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> int:
    """How many bytes of `leaf` one device holds under `sharding`."""
    return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize

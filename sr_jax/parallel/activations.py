"""How activations are split, by the logical names of their axes.

Models name the axes and know no mesh: the mesh is the one of the trace (`mesh.on_mesh`). Without one, or on a mesh of
one device, nothing is constrained.
"""

import math

import jax
from jax.sharding import AbstractMesh, PartitionSpec
from jaxtyping import Array

from sr_jax.parallel.mesh import BATCH_AXES

_MESH_AXES: dict[str, tuple[str, ...]] = {
    "batch": BATCH_AXES,
    # Tokens where every head or hidden unit of them is not at hand: attention and feed-forward.
    "tokens": ("context",),
    # Tokens between those: the devices that share the heads of a token would else all hold the same copy.
    "stream": ("context", "tensor"),
    "heads": ("tensor",),
    "mlp": ("tensor",),
}


def current_mesh() -> AbstractMesh | None:
    """The mesh of the trace; None when there is none, or one device only."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty or mesh.size == 1 else mesh


def platform() -> str:
    """What is compiled for ("cpu", "gpu", "tpu"): the mesh's devices, or else the process's default.

    A mesh may be of devices that this machine does not have.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return jax.default_backend() if mesh.empty else mesh.abstract_device.platform


def ways(name: str) -> int:
    """Over how many devices an axis of this name is split."""
    mesh = current_mesh()
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in _MESH_AXES[name])


def spec(*names: str | None) -> PartitionSpec:
    """The partition of an array whose axes have these names; None is an axis that is not split."""
    return PartitionSpec(*(None if name is None else _MESH_AXES[name] for name in names))


def constrain(x: Array, *names: str | None) -> Array:
    """`x`, split as the names of its axes say."""
    return x if current_mesh() is None else jax.lax.with_sharding_constraint(x, spec(*names))

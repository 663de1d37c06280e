"""The device mesh of every run: `(data, fsdp, context, tensor)`."""

import math
from collections.abc import Mapping, Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sr_jax.errors import UserError

AXES = ("data", "fsdp", "context", "tensor")
BATCH_AXES = ("data", "fsdp")
"""Mesh axes over which the batch is split."""


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the mesh `(data, fsdp, context, tensor)`.

    Args:
        sizes: Devices along each axis; one of them may be -1, "all the rest". A missing axis has size 1.
        devices: The devices to use; all of them when None.

    Raises:
        UserError: When an axis is unknown or the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    unknown = sorted(set(sizes) - set(AXES))
    if unknown:
        raise UserError(f"config.mesh names the axis {unknown[0]!r}: the axes are {', '.join(AXES)}")
    shape = [sizes.get(axis, 1) for axis in AXES]
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = len(devices) // math.prod(size for size in shape if size != -1)
    if math.prod(shape) != len(devices) or min(shape) < 1:
        asked = " x ".join(f"{axis} {sizes.get(axis, 1)}" for axis in AXES)
        raise UserError(f"config.mesh asks for {asked}, which does not fit the {len(devices)} devices there are")
    return jax.make_mesh(shape, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Checks that a global batch can be split over the mesh.

    Raises:
        UserError: When it cannot.
    """
    ways = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    if batch_size < 1 or batch_size % ways:
        raise UserError(f"config.batch_size is {batch_size}: it must be a multiple of data x fsdp = {ways}")


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of every array of a batch: its first axis is split over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of scalars and metrics: a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())

"""The device mesh of every run: `(data, fsdp, context, tensor)`."""

import collections
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sr_jax.errors import UserError

AXES = ("data", "fsdp", "context", "tensor")
BATCH_AXES = ("data", "fsdp")
"""Mesh axes over which the batch is split."""
SLICE_AXES = {"dcn_data": "data", "dcn_fsdp": "fsdp"}
"""Sizes that count slices, and the mesh axis that each multiplies; the other two axes stay within a slice."""
# A TPU's compiler takes products with weights that are split over devices apart: it passes parts of the weights round,
# and adds each part's product to the whole result in memory. Sixteen such additions take longer than the product: by
# the compiler's own count 5B's step on v5p:2x2x4 is 12.4 G cycles so, and 6.4 G with weights gathered first.
_COMPILER_OPTIONS = {"tpu": {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}}


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the mesh `(data, fsdp, context, tensor)`.

    Devices of one slice of a TPU pod (of one process, for other devices) talk over the fast network, slices over the
    slow one. With more than one slice, `sizes` are those of one slice, and `dcn_data` or `dcn_fsdp` says along which
    axis the slices lie; the axis of the mesh is then as long as the product of the two.

    Args:
        sizes: Devices along each axis within a slice; one of them may be -1, "all the rest". `dcn_data` and
            `dcn_fsdp`: slices along `data` and `fsdp`. Whatever is missing is 1.
        devices: The devices to use; all of them when None.

    Raises:
        UserError: When an axis is unknown, the sizes do not multiply to the number of devices, or the slices that
            there are differ from those asked for.
    """
    devices = jax.devices() if devices is None else list(devices)
    return Mesh(arrange(sizes, devices), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def arrange(sizes: Mapping[str, int], devices: Sequence[Any]) -> np.ndarray:
    """The devices in the order of `make_mesh`, whose arguments and errors these are."""
    unknown = sorted(set(sizes) - set(AXES) - set(SLICE_AXES))
    if unknown:
        raise UserError(
            f"config.mesh names the axis {unknown[0]!r}: the axes are {', '.join(AXES)}, "
            f"and {' and '.join(SLICE_AXES)} for several slices"
        )
    slices = [sizes.get(f"dcn_{axis}", 1) for axis in AXES]
    num_slices = math.prod(slices)
    _check_slices(num_slices, min(slices), devices)
    per_slice = len(devices) // num_slices
    shape = [sizes.get(axis, 1) for axis in AXES]
    given = math.prod(size for size in shape if size != -1)
    if shape.count(-1) == 1 and given > 0:
        shape[shape.index(-1)] = per_slice // given
    if min(shape) < 1 or math.prod(shape) * num_slices != len(devices):
        asked = " x ".join(f"{axis} {sizes.get(axis, 1)}" for axis in AXES)
        raise UserError(
            f"config.mesh asks for {asked}, which does not fit the {per_slice} devices there are"
            + (f" in each of {num_slices} slices" if num_slices > 1 else "")
        )
    if num_slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return mesh_utils.create_hybrid_device_mesh(
        shape,
        slices,
        devices,
        process_is_granule=_slice_attribute(devices) == "process_index",
        allow_split_physical_axes=True,
    )


def on_mesh(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, traced with `mesh` as the mesh that `parallel.activations` sees.

    Nothing outlives the call, and the caller needs no context of its own. Compile it by `jit_on_mesh`, with
    `in_shardings` on the same mesh: without any, it runs on one device.
    """

    def traced(*args: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*args)

    return traced


def jit_on_mesh(mesh: Mesh, function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit` of `on_mesh(mesh, function)`, compiled as the platform of the mesh's devices likes it.

    Args:
        mesh: The devices, which this machine need not have.
        function: See `on_mesh`.
        options: Of `jax.jit`.
    """
    platform = mesh.devices.flat[0].platform
    return jax.jit(on_mesh(mesh, function), compiler_options=_COMPILER_OPTIONS.get(platform), **options)


def _check_slices(asked: int, least: int, devices: Sequence[Any]) -> None:
    attribute = _slice_attribute(devices)
    sizes = collections.Counter(getattr(device, attribute) for device in devices)
    # Processes, and nodes of GPUs, may also make up one mesh without saying so; slices of TPUs may not.
    told_apart = devices[0].platform == "tpu" and attribute == "slice_index"
    found = len(sizes) if asked != 1 or told_apart else 1
    if least < 1 or asked != found:
        raise UserError(
            f"config.mesh asks for {asked} slices (dcn_data x dcn_fsdp), but the devices are in {found}: "
            f"set config.mesh.dcn_data={found} and dcn_fsdp=1"
        )
    if found > 1 and len(set(sizes.values())) > 1:
        counts = ", ".join(str(size) for size in sizes.values())
        raise UserError(f"the slices have {counts} devices: config.mesh needs as many in each")


def _slice_attribute(devices: Sequence[Any]) -> str:
    """What tells slices apart: `slice_index`, which only the devices of TPU pods have, or else the process."""
    return "process_index" if getattr(devices[0], "slice_index", None) is None else "slice_index"


def check_batch_size(batch_size: int, mesh: Mesh, accumulate_steps: int = 1) -> None:
    """Checks that a global batch can be split over the mesh, and each device's share into parts.

    Raises:
        UserError: When it cannot.
    """
    ways = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    if accumulate_steps < 1:
        raise UserError(f"config.accumulate_steps is {accumulate_steps}: it must be at least 1")
    if batch_size < 1 or batch_size % (ways * accumulate_steps):
        parts = f" x accumulate_steps = {ways * accumulate_steps}" if accumulate_steps > 1 else f" = {ways}"
        raise UserError(f"config.batch_size is {batch_size}: it must be a multiple of data x fsdp{parts}")


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of every array of a batch: its first axis is split over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of scalars and metrics: a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())

"""Devices to compile for, by name: TPU slices that nobody has at hand, and the devices that are there."""

import contextlib
import dataclasses
import importlib.util
import os
import re
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from sr_jax.errors import UserError
from sr_jax.parallel.chips import A10G, H100, H200, RTX_4090, Chip, find_chip

TPUS = ("v5e", "v5p", "v6e")
"""The TPU generations that a topology can name."""

GPUS = {"rtx4090": RTX_4090, "a10g": A10G, "h100": H100, "h200": H200}
"""The GPUs that a topology can name: nothing is compiled for them, so their memory is estimated."""

GPU_FRACTION = 0.96
"""Of a GPU's memory, what a program may use: what `launch/gpu_node.sh` gives JAX, whose own default is 0.75."""

_EXAMPLES = "v5p:2x2x4, v6e:8x8, v5e:16x16, h100:8, local, cpu:8"
_LIBTPU_ENVIRONMENT = {
    # The TPU library asks the cloud's metadata server what machine it is on, unless it is told.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5p-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # It only compiles, so several processes may load it.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices to compile for.

    Attributes:
        name: As the user gave it.
        devices: All of them; those of a TPU slice exist for the compiler only.
        chip: Their peaks; None where they are unknown.
        capacity: Bytes of memory of each that a program may use; None where that is unknown.
        estimated: Whether `devices` are virtual ones in the place of others, which nothing can be compiled for.
    """

    name: str
    devices: Sequence[jax.Device]
    chip: Chip | None
    capacity: int | None
    estimated: bool = False


def prepare(name: str) -> None:
    """Sets what JAX and the TPU compiler read when they start; call it before anything asks JAX for a device.

    Args:
        name: A topology's name, see `get_topology`.
    """
    platform, _, size = name.partition(":")
    if platform in TPUS or platform in GPUS or platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if platform in TPUS:
        for variable, value in _LIBTPU_ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
    elif (platform == "cpu" or platform in GPUS) and size.isdecimal():
        jax.config.update("jax_num_cpu_devices", int(size))


def get_topology(name: str) -> Topology:
    """The devices of a topology.

    Args:
        name: A TPU generation and the chips along each axis of the slice ("v5p:2x2x4"), a GPU of `GPUS`, with a count
            where there are several ("h100:8"), "local" for the devices that are there, or "cpu" with a count for
            virtual devices ("cpu:8").

    Raises:
        UserError: For a name that is none of these, or a slice that the TPU compiler does not know.
    """
    platform, _, size = name.partition(":")
    if platform in GPUS and re.fullmatch(r"|[1-9]\d*", size):
        chip = GPUS[platform]
        capacity = int(GPU_FRACTION * chip.hbm_bytes)
        return Topology(name, _cpu_devices(name, int(size or 1)), chip, capacity, estimated=True)
    allowed = None
    if platform in TPUS and re.fullmatch(r"\d+(x\d+){1,2}", size):
        devices = _tpu_devices(name)
    elif name == "local":
        devices = jax.devices()
        allowed = _allowed_bytes(devices)
    elif platform == "cpu" and size.isdecimal() and int(size) > 0:
        devices = _cpu_devices(name, int(size))
    else:
        raise UserError(
            f"unknown topology {name!r}: name one like {_EXAMPLES} (TPUs: {', '.join(TPUS)}; GPUs: {', '.join(GPUS)})"
        )
    chip = find_chip(devices[0].device_kind)
    return Topology(name, devices, chip, allowed or (chip and chip.hbm_bytes))


def _allowed_bytes(devices: Sequence[jax.Device]) -> int | None:
    """What this process may use of each device's memory; None where no device says.

    Of a GPU that is the fraction `XLA_PYTHON_CLIENT_MEM_FRACTION`, by default three quarters.
    """
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    return min((limit for limit in limits if limit is not None), default=None)


def _tpu_devices(name: str) -> Sequence[jax.Device]:
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(f'compiling for {name} needs the TPU compiler: pip install "jax[tpu]" (extra `tpu`)')
    with _quiet():
        try:
            return topologies.get_topology_desc(name, platform="tpu").devices
        except jax.errors.JaxRuntimeError as error:
            raise UserError(f"the TPU compiler knows no topology {name!r}: {str(error).splitlines()[0]}") from error


def _cpu_devices(name: str, count: int) -> Sequence[jax.Device]:
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise UserError(f"topology {name} asks for {count} virtual devices, this process has {len(devices)}")
    return devices[:count]


@contextlib.contextmanager
def _quiet():
    """Keeps what the TPU library prints about the TPU that is missing off the terminal."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)

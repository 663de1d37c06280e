"""What accelerators can do at most: the makers' published figures.

Sources: TPUs, the "System architecture" pages of Cloud TPU's documentation (cloud.google.com/tpu/docs/v4, v5e, v5p,
v6e), capacity in GiB as the runtime has it; its interconnect figures count both directions, here is one. GPUs, NVIDIA's
data sheets of A100, H100 and H200 in their SXM form, of the A10G, and the Ada architecture's white paper for the RTX
4090: dense bfloat16 (without sparsity, summed in float32) and in one direction NVLink, or else PCIe 4.0 of 16 lanes.
The "GB" of memory in these are GiB: nvidia-smi shows 81,559 MiB of an H100 and 143,771 MiB of an H200; of an RTX 4090
24,564 MiB, and of an A10G, whose error correction takes some, 23,028 MiB.

The figures of the A10G and the RTX 4090 were written down without these papers at hand: hold them against them.
"""

import dataclasses

_GIB = 2**30
_MIB = 2**20
_GB = 1e9


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peaks of one accelerator.

    Attributes:
        name: What people call it.
        flops: bfloat16 floating-point operations a second, in matrix products.
        hbm_bytes: Capacity of its memory.
        hbm_bandwidth: Bytes a second between memory and cores.
        link_bandwidth: Bytes a second that it sends to its neighbours over all links together.
    """

    name: str
    flops: float
    hbm_bytes: int
    hbm_bandwidth: float
    link_bandwidth: float


TPU_V4 = Chip("TPU v4", 275e12, 32 * _GIB, 1200 * _GB, 300 * _GB)
TPU_V5E = Chip("TPU v5e", 197e12, 16 * _GIB, 819 * _GB, 200 * _GB)
TPU_V5P = Chip("TPU v5p", 459e12, 95 * _GIB, 2765 * _GB, 600 * _GB)
TPU_V6E = Chip("TPU v6e", 918e12, 32 * _GIB, 1600 * _GB, 400 * _GB)
A100_40GB = Chip("A100 40GB", 312e12, 40 * _GIB, 1555 * _GB, 300 * _GB)
A100_80GB = Chip("A100 80GB", 312e12, 80 * _GIB, 2039 * _GB, 300 * _GB)
H100 = Chip("H100 80GB", 989e12, 80 * _GIB, 3350 * _GB, 450 * _GB)
H200 = Chip("H200 141GB", 989e12, 141 * _GIB, 4800 * _GB, 450 * _GB)
A10G = Chip("A10G 24GB", 70e12, 23_028 * _MIB, 600 * _GB, 32 * _GB)
RTX_4090 = Chip("RTX 4090 24GB", 165.2e12, 24_564 * _MIB, 1008 * _GB, 32 * _GB)

# The names that JAX gives to devices (`device_kind`).
_KINDS = {
    "TPU v4": TPU_V4,
    "TPU v5 lite": TPU_V5E,
    "TPU v5e": TPU_V5E,
    "TPU v5": TPU_V5P,
    "TPU v5p": TPU_V5P,
    "TPU v6 lite": TPU_V6E,
    "TPU v6e": TPU_V6E,
    "NVIDIA A100-SXM4-40GB": A100_40GB,
    "NVIDIA A100-SXM4-80GB": A100_80GB,
    "NVIDIA H100 80GB HBM3": H100,
    "NVIDIA H200": H200,
    "NVIDIA A10G": A10G,
    "NVIDIA GeForce RTX 4090": RTX_4090,
}


def find_chip(device_kind: str) -> Chip | None:
    """The peaks of a device's chip (`jax.Device.device_kind`); None where none are published here, as for CPUs."""
    return _KINDS.get(device_kind)

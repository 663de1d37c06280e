"""What JAX found to compute on."""

import dataclasses
from typing import Any

import jax

_LEAST_CAPABILITY = 8.0
"""CUDA compute capability from which NVIDIA GPUs compute in bfloat16; a T4 has 7.5."""


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """The devices that JAX computes on.

    Attributes:
        kind: "cpu", "gpu" or "tpu".
        name: As the maker calls it.
        count: How many there are.
        dtype: What they compute in best: a value for the config keys `dtype`.
    """

    kind: str
    name: str
    count: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.count} x {self.name} ({self.kind}), computing in {self.dtype}"


def accelerator() -> Accelerator:
    """The devices that JAX chose by itself: a TPU or GPU where there is one that it is installed for, else the CPU."""
    device = jax.devices()[0]
    return Accelerator(device.platform, device.device_kind, jax.device_count(), _dtype(device))


def _dtype(device: Any) -> str:
    """A TPU's type is bfloat16. Older GPUs would only imitate it, slowly, as CPUs do."""
    newer = device.platform == "gpu" and float(device.compute_capability) >= _LEAST_CAPABILITY
    return "bfloat16" if newer or device.platform == "tpu" else "float32"

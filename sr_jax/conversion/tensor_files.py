"""Safetensors files that fit in memory, by their library."""

from pathlib import Path

import numpy as np
import safetensors.numpy

from sr_jax.outputs import replacing


def write_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file, whole or not at all; its folder must exist.

    Unlike `safetensors.numpy.save_file` it leaves the file to be read by whom the umask lets, fails with `OSError`, and
    takes arrays whose values lie in any order: the library writes them in the order of memory.
    """
    ordered = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(ordered, metadata))

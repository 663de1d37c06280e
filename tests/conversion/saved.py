"""Writes the folders that diffusers and transformers save, without them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from sr_jax.conversion.safetensors_file import parse_header

Shapes = Mapping[str, tuple[int, ...]]


def write_saved(
    folder: Path, files: Mapping[str, bytes], weights: Callable[[Shapes], Mapping[str, np.ndarray]]
) -> Path:
    """The folder of files that an original saves, with weights in it.

    Args:
        folder: Where to; it is made where it is missing.
        files: What `tests.originals.folders` says of them: of a file of weights, the header.
        weights: From the shape of every tensor in them, by name, to its values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    headers = {name: parse_header(data, folder / name) for name, data in files.items() if name.endswith(".safetensors")}
    stored = {name: tensor for header in headers.values() for name, tensor in header.items()}
    values = weights({name: tensor.shape for name, tensor in stored.items()})
    for file, data in files.items():
        # In the order of their places.
        tensors = headers.get(file, {}).items()
        (folder / file).write_bytes(data + b"".join(values[name].astype(t.dtype).tobytes() for name, t in tensors))
    return folder

"""The weight files of one component of a diffusers folder: one file, or shards with an index."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from sr_jax.conversion.safetensors_file import StoredTensor, map_tensor, parse_header, read_header
from sr_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class WeightFiles:
    """What the headers of a component's weight files tell; no weight is read.

    Attributes:
        folder: Where the files are.
        headers: Header of each file, by its name.
        tensors: The file that each tensor is in, and where; file by file, in the order of their bytes.
    """

    folder: Path
    headers: dict[str, bytes]
    tensors: dict[str, tuple[str, StoredTensor]]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor."""
        return {name: tensor.shape for name, (_, tensor) in self.tensors.items()}

    def map(self, name: str) -> np.ndarray:
        """A read-only view of a tensor on disk."""
        file, tensor = self.tensors[name]
        return map_tensor(self.folder / file, tensor)


def open_weights(folder: Path, basename: str) -> WeightFiles:
    """Opens a component's weights.

    Args:
        folder: Of the component.
        basename: "diffusion_pytorch_model" (diffusers) or "model" (transformers).

    Raises:
        UserError: If files are missing or damaged, or two hold a tensor of the same name.
    """
    headers = {file: read_header(folder / file) for file in _weight_files(folder, basename)}
    tensors: dict[str, tuple[str, StoredTensor]] = {}
    for file, header in headers.items():
        for name, tensor in parse_header(header, folder / file).items():
            if name in tensors:
                raise UserError(f"{folder}: both {tensors[name][0]} and {file} hold {name}: remove what is left over")
            tensors[name] = (file, tensor)
    return WeightFiles(folder, headers, tensors)


def _weight_files(folder: Path, basename: str) -> list[str]:
    single = f"{basename}.safetensors"
    index = folder / index_name(basename)
    if not index.is_file():
        if not (folder / single).is_file():
            raise UserError(
                f"{folder} holds neither {single} nor {index.name}: name a folder with weights in safetensors files"
            )
        return [single]
    try:
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"{index} cannot be read ({error!r}): download it again") from error
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {', '.join(missing)}, which {index.name} names: download the rest")
    return files


def index_name(basename: str) -> str:
    """Name of the file that says which tensor is in which shard."""
    return f"{basename}.safetensors.index.json"

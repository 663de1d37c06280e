"""The weight files of one component of a diffusers folder: one file, or shards with an index."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sr_jax.conversion.fields import shown
from sr_jax.conversion.safetensors_file import StoredTensor, map_tensor, parse_header, read_header
from sr_jax.errors import UserError

# Files of all frameworks that have loaded diffusers folders, and the indices of their shards.
_WEIGHTS = re.compile(
    r".+\.(safetensors|bin|pt|pth|ckpt|msgpack|h5|onnx|onnx_data|gguf|index\.json|index\.[\w-]+\.json)"
)
_FILE_NAME = re.compile(r"[\w-][\w.-]*\.safetensors")
_SHARD = r"-\d+-of-\d+"


@dataclasses.dataclass(frozen=True)
class WeightFiles:
    """What the headers of a component's weight files tell; no weight is read.

    Attributes:
        folder: Where the files are.
        headers: Header of each file, by its name.
        tensors: The file that each tensor is in, and where; file by file, in the order of their bytes. A tensor that
            has other names in the files, too, is here once.
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


def open_weights(folder: Path, basename: str, aliases: Mapping[str, str]) -> WeightFiles:
    """Opens a component's weights; reads those that the files hold twice, and no others.

    Args:
        folder: Of the component.
        basename: "diffusion_pytorch_model" (diffusers) or "model" (transformers).
        aliases: Our name of each tensor that files may hold under another, too.

    Raises:
        UserError: If files are missing or damaged, two hold a tensor of the same name, or what is one tensor under two
            names differs.
    """
    headers = {file: read_header(folder / file) for file in _weight_files(folder, basename)}
    tensors: dict[str, tuple[str, StoredTensor]] = {}
    for file, header in headers.items():
        for name, tensor in parse_header(header, folder / file).items():
            if name in tensors:
                raise UserError(f"{folder}: both {tensors[name][0]} and {file} hold {name}: remove what is left over")
            tensors[name] = (file, tensor)
    files = WeightFiles(folder, headers, tensors)
    for alias, name in aliases.items():
        if alias in tensors and name in tensors and not _same_bits(files.map(alias), files.map(name)):
            raise UserError(f"{folder}: {alias} and {name} differ, but are one tensor: download the weights again")
    return WeightFiles(folder, headers, {aliases.get(name, name): place for name, place in tensors.items()})


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    same_kind = (one.shape, one.dtype) == (other.shape, other.dtype)
    return same_kind and all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def _weight_files(folder: Path, basename: str) -> list[str]:
    single = f"{basename}.safetensors"
    index = folder / index_name(basename)
    if not index.is_file():
        if not (folder / single).is_file():
            raise UserError(f"{folder} holds neither {single} nor {index.name}{_hint(folder, basename)}")
        return [single]
    try:
        files = list(json.loads(index.read_text())["weight_map"].values())
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise UserError(f"{index} cannot be read ({shown(error)}): download it again") from error
    for file in files:
        # What an index names is read, and its name written to: nothing outside of the folder.
        if not (isinstance(file, str) and _FILE_NAME.fullmatch(file)):
            raise UserError(f"{index} names {shown(file)}, which is no file of that folder: download it again")
    files = sorted(set(files))
    if (folder / single).is_file() and single not in files:
        # Not all that load such a folder take the same of the two.
        raise UserError(f"{folder} holds both {single} and {index.name}: remove the one that is left over")
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {', '.join(missing)}, which {index.name} names: download the rest")
    return files


def _hint(folder: Path, basename: str) -> str:
    """What to do where weights are missing, from the files that are there instead."""
    others = sorted(path.name for path in folder.iterdir() if is_weights(path.name))
    variant = re.compile(rf"{basename}(?:{_SHARD})?\.(\w+)(?:{_SHARD})?\.safetensors")
    if any(re.fullmatch(rf"{basename}{_SHARD}\.safetensors", name) for name in others):
        return ", which tells of its shards: download the latter"
    for match in filter(None, map(variant.fullmatch, others)):
        return (
            f", only the variant {match[1]} ({match[0]}): load it with variant='{match[1]}' in diffusers, "
            "and import what save_pretrained then writes"
        )
    if others:
        return f", only {', '.join(others)}: load that in diffusers, and import what save_pretrained then writes"
    return ": name a folder with weights in safetensors files"


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights, of any format, or is the index of such files."""
    return _WEIGHTS.fullmatch(name) is not None


def index_name(basename: str) -> str:
    """Name of the file that says which tensor is in which shard."""
    return f"{basename}.safetensors.index.json"

"""Models by folder or by their name on the Hugging Face hub."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import huggingface_hub

from sr_jax.conversion.importing import Source
from sr_jax.conversion.parts import PartKind
from sr_jax.errors import UserError

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# A single file, or shards; of neither a variant.
_WEIGHTS = (".safetensors", "-?????-of-?????.safetensors")
_SMALL_FILES = ("*.json", "*.txt", "*.md", "*.model", "LICENSE")


def locate(name: str, kinds: Mapping[str, PartKind], components: Sequence[str] = (), revision: str = "") -> Source:
    """The folder of a model; downloads it into the hub's cache when it is none of this machine's folders.

    Args:
        name: A folder, or a name such as "THUDM/CogVideoX-5b-I2V".
        kinds: The parts of every family that is known.
        components: Which parts' weights are needed; all when empty.
        revision: Branch, tag or commit on the hub; the newest when empty.

    Raises:
        UserError: If there is neither such a folder nor, or not within reach, such a model.
    """
    folder = Path(name)
    if folder.is_dir():
        return Source(folder, name)
    if not _HUB_NAME.fullmatch(name):
        raise UserError(f"no folder {name}, nor is it a hub name such as organisation/model")
    unknown = [part for part in components if part not in kinds]
    if unknown:
        raise UserError(f"no model has the part {', '.join(unknown)}: choose among {', '.join(kinds)}")
    weights = [f"{part}/{kinds[part].weights}{ending}" for part in components or kinds for ending in _WEIGHTS]
    patterns = [*_SMALL_FILES, *weights]
    try:
        snapshot = Path(huggingface_hub.snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    # No network, no such model, no permission and a full disk arrive as many kinds of exceptions.
    except Exception as error:
        raise UserError(
            f"{name} is no folder here, and its download failed ({_one_line(error)}): check its "
            "name and the network, or download it elsewhere and name the folder"
        ) from error
    return Source(snapshot, name, snapshot.name)


def download_file(repository: str, file: str) -> Path:
    """One file of a model on the hub, from the hub's cache when it is there.

    Args:
        repository: A name such as "depth-anything/Video-Depth-Anything-Small".
        file: Its path in the repository.

    Raises:
        UserError: If it is not within reach.
    """
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file))
    # As above.
    except Exception as error:
        raise UserError(
            f"{file} of {repository} cannot be downloaded ({_one_line(error)}): check the network, or download it "
            "elsewhere and set its path"
        ) from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

"""Models by folder or by their name on the Hugging Face hub."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import huggingface_hub

from sr_jax.conversion.importing import Source
from sr_jax.conversion.other_files import files_below
from sr_jax.conversion.parts import PartKind
from sr_jax.conversion.weight_files import is_weights
from sr_jax.errors import UserError

_SHA256_LENGTH = 64
_HASH = re.compile(rf"[0-9a-f]{{40}}|[0-9a-f]{{{_SHA256_LENGTH}}}")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# A single file, or shards; of neither a variant.
_WEIGHTS = (".safetensors", "-?????-of-?????.safetensors")
_SMALL_FILES = ("*.json", "*.txt", "*.md", "*.model", "LICENSE")


@dataclasses.dataclass(frozen=True)
class Pin:
    """Which version of a file on the hub is meant.

    Attributes:
        commit: Of its repository.
        sha256: Of the file.
    """

    commit: str
    sha256: str


PINNED = {
    ("depth-anything/Video-Depth-Anything-Small", "video_depth_anything_vits.pth"): Pin(
        "256875362cff76724b920335dfb4b29dd611f66e", "13379300b739e659f076a59d52e9801bd8d38c541a7e71f73bbca4dcfb013609"
    ),
    ("depth-anything/Video-Depth-Anything-Base", "video_depth_anything_vitb.pth"): Pin(
        "7231d0c6e260f54f103eba5005d01f6efa4f43db", "775e578e8f9431ec0496514aa466bd0a1f67c28d0f518267809f35a43c04329b"
    ),
    ("depth-anything/Video-Depth-Anything-Large", "video_depth_anything_vitl.pth"): Pin(
        "7aafbcb5c6af0bac741aad2b6471894fb4761afa", "43df27c6b396042ba34ff7b798ab279f64d204d2e86d7a373968f8fa36d0e6fa"
    ),
}
"""Every single file that is downloaded by name, by repository and path."""


def locate(name: str, kinds: Mapping[str, PartKind], components: Sequence[str] = (), revision: str = "") -> Source:
    """The folder of a model; downloads it into the hub's cache when it is none of this machine's folders.

    Args:
        name: A folder, or a name such as "THUDM/CogVideoX-5b-I2V".
        kinds: The parts of every family that is known.
        components: Which parts' weights are needed; all when empty.
        revision: Branch, tag or commit on the hub; the newest when empty.

    Raises:
        UserError: If there is neither such a folder nor, or not within reach, such a model; if a small file is not what
            the hub has. (Weights are compared when they are imported.)
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
    snapshot = _snapshot(name, patterns, revision)
    return Source(snapshot, name, snapshot.name, _published(snapshot))


def model_folder(name: str, files: Sequence[str], revision: str = "") -> Path:
    """A folder with some files of a model that has no parts, from the hub's cache when they are there.

    Args:
        name: A name such as "facebook/dinov2-base".
        files: The files.
        revision: Branch, tag or commit on the hub; the newest when empty.

    Raises:
        UserError: If there is no such model within reach, or a file is not what the hub has.
    """
    if not _HUB_NAME.fullmatch(name):
        raise UserError(f"no folder {name}, nor is it a hub name such as organisation/model")
    snapshot = _snapshot(name, list(files), revision)
    for file in files:
        _require_published(snapshot / file)
    return snapshot


def download_file(repository: str, file: str) -> Path:
    """One of the files of `PINNED`, from the hub's cache when it is there.

    Args:
        repository: A name such as "depth-anything/Video-Depth-Anything-Small".
        file: Its path in the repository.

    Raises:
        UserError: If it is not within reach, or not the file that is pinned.
    """
    pin = PINNED[repository, file]
    try:
        path = Path(huggingface_hub.hf_hub_download(repository, file, revision=pin.commit))
    # As above.
    except Exception as error:
        raise UserError(
            f"{file} of {repository} cannot be downloaded ({_one_line(error)}): check the network, or download it "
            "elsewhere and set its path"
        ) from error
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != pin.sha256:
        raise UserError(f"{path} has the SHA-256 {found}, not {pin.sha256}: remove it, or download it elsewhere")
    return path


def _snapshot(name: str, patterns: list[str], revision: str) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    # No network, no such model, no permission and a full disk arrive as many kinds of exceptions.
    except Exception as error:
        raise UserError(
            f"{name} is no folder here, and its download failed ({_one_line(error)}): check its "
            "name and the network, or download it elsewhere and name the folder"
        ) from error


def _published(snapshot: Path) -> dict[str, str]:
    """The SHA-256 that the hub has of each large file of a snapshot, by its path there.

    Raises:
        UserError: If another file is not what the hub has.
    """
    result = {}
    for path in files_below(snapshot):
        published = _hash_on_hub(snapshot / path)
        if len(published) == _SHA256_LENGTH and is_weights(path.name):
            result[path.as_posix()] = published
        else:
            _require_published(snapshot / path)
    return result


def _require_published(path: Path) -> None:
    published = _hash_on_hub(path)
    # A link that leads nowhere is told where it is read.
    if not published or not path.is_file():
        return
    with path.open("rb") as file:
        if len(published) == _SHA256_LENGTH:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            # As Git names the content of a file.
            content = file.read()
            found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if found != published:
        raise UserError(
            f"{path} has the hash {found}, the hub has {published}: remove {path.resolve()}, and download it again"
        )


def _hash_on_hub(path: Path) -> str:
    """The hash by which the hub knows a file in its cache, where it is the name of what the file links to; else empty.

    It is the SHA-256 of a large file, and Git's SHA-1 of a small one.
    """
    name = Path(os.readlink(path)).name if path.is_symlink() else ""
    return name if _HASH.fullmatch(name) else ""


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

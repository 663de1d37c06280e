"""The folder that an import writes, and how to load from it.

import.json            what was imported, from where
checkpoints/0/         parameters, as in the workdir of a training run: ema_params (the transformer), vae,
                       text_encoder, and meta
source/                every other file of the source, unchanged; of a weight file its header, FILE.header
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import traverse_util

from sr_jax.conversion.components import CONFIG_FILE, read_json
from sr_jax.conversion.parts import Identity, PartKind
from sr_jax.conversion.rules import name_list
from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.parallel.stored import open_item

RECORD_FILE = "import.json"
STEP_FOLDER = Path("checkpoints") / "0"
SOURCE_FOLDER = Path("source")
HEADER_SUFFIX = ".header"


@dataclasses.dataclass(frozen=True)
class ImportRecord:
    """What was imported.

    Attributes:
        source: Folder or hub name that the user gave.
        revision: Commit of the hub's repository; empty for a folder.
        folders: Folder of each imported part, relative to the source.
        dtype: What the parameters were converted to; empty when they are as in the files.
        sha256: Of each weight file, by its path in the source.
        software_version: Version of this package.
        identities: What a dataset must have been made with to go with the model, by the name of the part, also of parts
            that were not imported; empty in an import from before that was written down.
        merged: LoRA files that were merged into the transformer since: `name`, `sha256` and `weight` of each.
    """

    source: str
    revision: str
    folders: dict[str, str]
    dtype: str
    sha256: dict[str, str]
    software_version: str
    identities: dict[str, Identity] = dataclasses.field(default_factory=dict)
    merged: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def weight_hashes(self, name: str) -> list[str]:
        """Those of an imported part, first as its parameters are kept; empty where they were not written down."""
        return self.identities.get(name, {}).get("weight_hashes", []) if name in self.folders else []

    def files_of(self, name: str) -> dict[str, str]:
        """The SHA-256 of each weight file of an imported part, by its path in the source."""
        prefix = f"{self.folders[name]}/"
        return {file: digest for file, digest in self.sha256.items() if file.startswith(prefix)}

    def write(self, folder: Path) -> None:
        """Writes the record into an import's folder."""
        (folder / RECORD_FILE).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def is_imported(folder: Path) -> bool:
    """Whether a folder was written by an import."""
    return (folder / RECORD_FILE).is_file()


def read_record(folder: Path) -> ImportRecord:
    """Reads what was imported.

    Raises:
        UserError: If `folder` is no import.
    """
    if not is_imported(folder):
        raise UserError(f"{folder} holds no imported model: make one with python -m sr_jax.convert import")
    try:
        record = ImportRecord(**read_json(folder / RECORD_FILE))
    except TypeError as error:
        raise UserError(f"{folder / RECORD_FILE} is of another version ({error}): import again") from error
    for name, where in record.folders.items():
        # Files are read and written there.
        if Path(where).is_absolute() or ".." in Path(where).parts:
            raise UserError(f"{folder / RECORD_FILE} has the {name} in {where!r}, outside of the model: import again")
    return record


def open_component(folder: Path, name: str, kinds: Mapping[str, PartKind]) -> tuple[Any, Params]:
    """Our configuration of one part of an imported model, and its parameters as `LazyArray`.

    Args:
        folder: What an import wrote.
        name: Of the part, such as "transformer".
        kinds: Every part that its family has.

    Raises:
        UserError: If `folder` is no import, or has no such part; naming the parameters that do not fit its
            configuration.
    """
    folders = read_record(folder).folders
    if name not in folders:
        raise UserError(f"{folder} has no {name}, only {', '.join(folders)}: import it with --components")
    kind = kinds[name]
    config = kind.conversion.config_from_diffusers(read_json(folder / SOURCE_FOLDER / folders[name] / CONFIG_FILE))
    item = folder / STEP_FOLDER / kind.item
    stored = traverse_util.flatten_dict(open_item(item)[name])
    wanted = traverse_util.flatten_dict(kind.functional(config).abstract_params())
    # Orbax keeps the numbers of a list's modules as words.
    paths = {tuple(map(str, path)): path for path in wanted}
    differing = {
        names
        for names in paths.keys() | stored.keys()
        if names not in paths or names not in stored or stored[names].shape != wanted[paths[names]].shape
    }
    if differing:
        names = name_list(map(".".join, differing))
        raise UserError(f"{item} does not fit its configuration: {names} differ: import again")
    return config, traverse_util.unflatten_dict({paths[names]: leaf for names, leaf in stored.items()})

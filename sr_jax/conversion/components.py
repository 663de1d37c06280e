"""The parts of a pipeline that have weights, and where a diffusers folder keeps them."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from sr_jax.conversion.parts import PartKind
from sr_jax.conversion.rules import TensorRule, check_tensors, expected_shapes
from sr_jax.conversion.weight_files import WeightFiles, open_weights
from sr_jax.errors import UserError

CONFIG_FILE = "config.json"
PIPELINE_FILE = "model_index.json"
SCHEDULER_FILE = Path("scheduler") / "scheduler_config.json"


@dataclasses.dataclass(frozen=True)
class Component:
    """One part of a diffusers folder.

    Attributes:
        name: In the pipeline.
        kind: What it is.
        folder: Its folder, relative to the pipeline's; "." where the folder is that of the part itself.
        config: Our configuration.
        rules: Where each tensor goes.
        weights: Its files.
    """

    name: str
    kind: PartKind
    folder: str
    config: Any
    rules: list[TensorRule]
    weights: WeightFiles

    def nbytes(self, dtype: str = "") -> int:
        """Size of its weights: as they are on disk, or as another type."""
        stored = [tensor for _, tensor in self.weights.tensors.values()]
        if not dtype:
            return sum(tensor.nbytes for tensor in stored)
        return sum(math.prod(tensor.shape) for tensor in stored) * jnp.dtype(dtype).itemsize


def find_components(source: Path, kinds: Mapping[str, PartKind], names: Sequence[str] = ()) -> list[Component]:
    """Opens the parts of a pipeline's folder, or the one part that a folder is; reads no weights that are there once.

    Args:
        source: A folder that diffusers saved.
        kinds: Every part that the family of the pipeline has, by the name of its folder.
        names: Which parts; all that are there when empty.

    Raises:
        UserError: If a part is unknown, missing, damaged or not one of `kinds`; naming every tensor that does not fit.
    """
    folders = component_folders(source, kinds)
    unknown = [name for name in names if name not in folders]
    if unknown:
        raise UserError(f"{source} has no {', '.join(unknown)}: it has {', '.join(folders)}")
    return [_open(source, name, kinds[name], folders[name]) for name in names or folders]


def component_folders(source: Path, kinds: Mapping[str, PartKind]) -> dict[str, str]:
    """The folder of each of `kinds` that is there, relative to `source`.

    Raises:
        UserError: If there is none.
    """
    if (source / PIPELINE_FILE).is_file():
        folders = {name: name for name in kinds if (source / name / CONFIG_FILE).is_file()}
    elif (source / CONFIG_FILE).is_file():
        classes = class_names(read_json(source / CONFIG_FILE))
        folders = {name: "." for name, kind in kinds.items() if kind.class_name in classes}
    else:
        raise UserError(f"{source} holds neither {PIPELINE_FILE} nor {CONFIG_FILE}: name a folder that diffusers saved")
    if not folders:
        raise UserError(f"{source} holds none of {', '.join(kinds)} of a model that is known here: name one that is")
    return folders


def is_diffusers(folder: Path) -> bool:
    """Whether diffusers or transformers saved a folder: a pipeline, or one part, be it ours or not."""
    if (folder / PIPELINE_FILE).is_file():
        return True
    return (folder / CONFIG_FILE).is_file() and bool(class_names(read_json(folder / CONFIG_FILE)))


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        UserError: If the file is missing or holds no such object.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): download it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: download it again")
    return content


def _open(source: Path, name: str, kind: PartKind, folder: str) -> Component:
    config_json = read_json(source / folder / CONFIG_FILE)
    if kind.class_name not in class_names(config_json):
        raise UserError(
            f"{source / folder} is a {' or '.join(class_names(config_json)) or 'part of no known class'}, "
            f"not a {kind.class_name}: name a folder of such a model"
        )
    config = kind.conversion.config_from_diffusers(config_json)
    rules = kind.conversion.rules(config)
    weights = open_weights(source / folder, kind.weights, kind.aliases)
    try:
        check_tensors(rules, weights.shapes(), expected_shapes(rules, kind.functional(config).abstract_params()))
    except UserError as error:
        raise UserError(f"{source / folder}: {error}") from error
    return Component(name, kind, folder, config, rules, weights)


def class_names(config_json: dict[str, Any]) -> list[str]:
    """The classes that the `config.json` of a part names, of diffusers or of transformers."""
    found = config_json.get("_class_name") or config_json.get("architectures")
    return [name for name in (found if isinstance(found, list) else [found]) if isinstance(name, str)]

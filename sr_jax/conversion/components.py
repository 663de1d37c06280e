"""The parts of a CogVideoX pipeline that have weights, and where a diffusers folder keeps them."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
from flax import nnx

from sr_jax.backbones.cogvideox import transformer_weights as transformer
from sr_jax.backbones.cogvideox import vae_weights as vae
from sr_jax.backbones.cogvideox.transformer import CogVideoXTransformer3D
from sr_jax.backbones.cogvideox.vae_network import Autoencoder
from sr_jax.conversion import t5
from sr_jax.conversion.rules import TensorRule, check_tensors, expected_shapes
from sr_jax.conversion.weight_files import WeightFiles, open_weights
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.models.t5 import T5Encoder

CONFIG_FILE = "config.json"
PIPELINE_FILE = "model_index.json"


@dataclasses.dataclass(frozen=True)
class Kind:
    """What one part of a pipeline is.

    Attributes:
        class_name: In its `config.json`: `_class_name` (diffusers), or one of `architectures` (transformers).
        conversion: Module with `config_from_diffusers`, `config_to_diffusers` and `rules`.
        module: Our module, called as `module(config, rngs=rngs)`.
        weights: Name of its weight files, without number and ending.
        item: Its name in our checkpoints.
        aliases: Our name of each tensor that files may hold under another, too.
    """

    class_name: str
    conversion: ModuleType
    module: Callable[..., nnx.Module]
    weights: str
    item: str
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def functional(self, config: Any) -> Functional:
        """Our module of this configuration; allocates nothing."""
        return Functional(lambda rngs: self.module(config, rngs=rngs))


_DIFFUSERS = "diffusion_pytorch_model"
KINDS = {
    # Its item is the one that training and sampling load from a workdir.
    "transformer": Kind("CogVideoXTransformer3DModel", transformer, CogVideoXTransformer3D, _DIFFUSERS, "ema_params"),
    "vae": Kind("AutoencoderKLCogVideoX", vae, Autoencoder, _DIFFUSERS, "vae"),
    "text_encoder": Kind("T5EncoderModel", t5, T5Encoder, "model", "text_encoder", t5.ALIASES),
}
"""Every part with weights, by the name of its folder."""


@dataclasses.dataclass(frozen=True)
class Component:
    """One part of a diffusers folder.

    Attributes:
        name: Of its kind.
        folder: Its folder, relative to the pipeline's; "." where the folder is that of the part itself.
        config: Our configuration.
        rules: Where each tensor goes.
        weights: Its files.
    """

    name: str
    folder: str
    config: Any
    rules: list[TensorRule]
    weights: WeightFiles

    @property
    def kind(self) -> Kind:
        """What it is."""
        return KINDS[self.name]

    def nbytes(self, dtype: str = "") -> int:
        """Size of its weights: as they are on disk, or as another type."""
        stored = [tensor for _, tensor in self.weights.tensors.values()]
        if not dtype:
            return sum(tensor.nbytes for tensor in stored)
        return sum(math.prod(tensor.shape) for tensor in stored) * jnp.dtype(dtype).itemsize


def find_components(source: Path, names: Sequence[str] = ()) -> list[Component]:
    """Opens the parts of a pipeline's folder, or the one part that a folder is; reads no weights that are there once.

    Args:
        source: A folder that diffusers saved.
        names: Which parts; all that are there when empty.

    Raises:
        UserError: If a part is unknown, missing, damaged or not a CogVideoX one; naming every tensor that does not fit.
    """
    folders = component_folders(source)
    unknown = [name for name in names if name not in folders]
    if unknown:
        raise UserError(f"{source} has no {', '.join(unknown)}: it has {', '.join(folders)}")
    return [_open(source, name, folders[name]) for name in names or folders]


def component_folders(source: Path) -> dict[str, str]:
    """The folder of each part with weights, relative to `source`.

    Raises:
        UserError: If there is none.
    """
    if (source / PIPELINE_FILE).is_file():
        folders = {name: name for name in KINDS if (source / name / CONFIG_FILE).is_file()}
    elif (source / CONFIG_FILE).is_file():
        classes = _class_names(read_json(source / CONFIG_FILE))
        folders = {name: "." for name, kind in KINDS.items() if kind.class_name in classes}
    else:
        raise UserError(f"{source} holds neither {PIPELINE_FILE} nor {CONFIG_FILE}: name a folder that diffusers saved")
    if not folders:
        raise UserError(f"{source} holds none of {', '.join(KINDS)} of CogVideoX: name a folder of such a model")
    return folders


def is_diffusers(folder: Path) -> bool:
    """Whether diffusers or transformers saved a folder: a pipeline, or one part, be it ours or not."""
    if (folder / PIPELINE_FILE).is_file():
        return True
    return (folder / CONFIG_FILE).is_file() and bool(_class_names(read_json(folder / CONFIG_FILE)))


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        UserError: If the file is missing or holds no such object.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): download it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: download it again")
    return content


def _open(source: Path, name: str, folder: str) -> Component:
    kind = KINDS[name]
    config_json = read_json(source / folder / CONFIG_FILE)
    if kind.class_name not in _class_names(config_json):
        raise UserError(
            f"{source / folder} is a {' or '.join(_class_names(config_json)) or 'part of no known class'}, "
            f"not a {kind.class_name}: only CogVideoX pipelines can be imported"
        )
    config = kind.conversion.config_from_diffusers(config_json)
    rules = kind.conversion.rules(config)
    weights = open_weights(source / folder, kind.weights, kind.aliases)
    try:
        check_tensors(rules, weights.shapes(), expected_shapes(rules, kind.functional(config).abstract_params()))
    except UserError as error:
        raise UserError(f"{source / folder}: {error}") from error
    return Component(name, folder, config, rules, weights)


def _class_names(config_json: dict[str, Any]) -> list[str]:
    diffusers_class = config_json.get("_class_name")
    return [diffusers_class] if diffusers_class else list(config_json.get("architectures") or [])

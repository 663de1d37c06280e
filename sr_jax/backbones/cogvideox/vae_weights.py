"""The autoencoder of a CogVideoX folder (`vae/`): its config and its tensors, to ours and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from sr_jax.backbones.cogvideox.vae_network import TEMPORAL_COMPRESSION_RATIO, Autoencoder, CogVideoXVAEConfig
from sr_jax.conversion.rules import TensorRule
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional

# What all released autoencoders have, and ours always; diffusers' defaults where a config does not say.
_FIXED = {
    "in_channels": 3,
    "out_channels": 3,
    "act_fn": "silu",
    "temporal_compression_ratio": TEMPORAL_COMPRESSION_RATIO,
    "shift_factor": None,
    "latents_mean": None,
    "latents_std": None,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
_LAYOUTS = {1: "same", 4: "conv2d", 5: "conv3d"}
_NAMES = {"kernel": "weight", "scale": "weight", "conv_y": "conv_y.conv", "conv_b": "conv_b.conv"}
_RESAMPLERS = {"encoder": "downsamplers.0", "decoder": "upsamplers.0"}


def config_from_diffusers(config_json: Mapping[str, Any]) -> CogVideoXVAEConfig:
    """Our config from `vae/config.json`; sizes that it does not give have diffusers' defaults, as in diffusers.

    Raises:
        UserError: If it asks for something that no released autoencoder has.
    """
    given = {name: _as_tuple(value) for name, value in config_json.items()}
    names = {field.name for field in dataclasses.fields(CogVideoXVAEConfig)}
    config = CogVideoXVAEConfig(**{name: value for name, value in given.items() if name in names})
    for name, value in (_FIXED | _block_types(config)).items():
        if given.get(name, value) != value:
            raise UserError(f"the autoencoder's config has {name} {given[name]!r}: only {value!r} is supported")
    return config


def config_to_diffusers(config: CogVideoXVAEConfig) -> dict[str, Any]:
    """A `vae/config.json` that diffusers' `AutoencoderKLCogVideoX` loads."""
    config_json = dataclasses.asdict(config) | _FIXED | _block_types(config)
    config_json = {name: list(value) if isinstance(value, tuple) else value for name, value in config_json.items()}
    return {"_class_name": "AutoencoderKLCogVideoX", "force_upcast": True} | config_json


def rules(config: CogVideoXVAEConfig) -> list[TensorRule]:
    """Where every tensor of the autoencoder lives."""
    abstract = Functional(lambda rngs: Autoencoder(config, rngs=rngs)).abstract_params()
    return [
        TensorRule(_source(path), path, _LAYOUTS[len(leaf.shape)])
        for path, leaf in traverse_util.flatten_dict(abstract).items()
    ]


def _source(path: tuple[str | int, ...]) -> str:
    names = _NAMES | {"resampler": _RESAMPLERS[path[0]]}
    return ".".join(names.get(part, str(part)) for part in path)


def _block_types(config: CogVideoXVAEConfig) -> dict[str, tuple[str, ...]]:
    stages = len(config.block_out_channels)
    return {
        "down_block_types": ("CogVideoXDownBlock3D",) * stages,
        "up_block_types": ("CogVideoXUpBlock3D",) * stages,
    }


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

"""The autoencoder of a CogVideoX folder (`vae/`): its config and its tensors, to ours and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from sr_jax.backbones.cogvideox.vae_network import TEMPORAL_COMPRESSION_RATIO, Autoencoder, CogVideoXVAEConfig
from sr_jax.conversion.fields import MOST_LAYERS, read_fields, require, shown
from sr_jax.conversion.rules import TensorRule
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
_BLOCK_TYPES = ("down_block_types", "up_block_types")
# Of the type that diffusers computes in; and the name that the first release had for a size.
_WITHOUT_EFFECT = ("force_upcast", "sample_size")
_MOST_STAGES = 10
_WHAT = "the autoencoder's config"
_LAYOUTS = {1: "same", 4: "conv2d", 5: "conv3d"}
_NAMES = {"kernel": "weight", "scale": "weight", "conv_y": "conv_y.conv", "conv_b": "conv_b.conv"}
_RESAMPLERS = {"encoder": "downsamplers.0", "decoder": "upsamplers.0"}


def config_from_diffusers(config_json: Mapping[str, Any]) -> CogVideoXVAEConfig:
    """Our config from `vae/config.json`; sizes that it does not give have diffusers' defaults, as in diffusers.

    Raises:
        UserError: If it asks for something that no released autoencoder has.
    """
    config = read_fields(
        config_json, CogVideoXVAEConfig, what=_WHAT, fixed=_FIXED, without_effect=(*_WITHOUT_EFFECT, *_BLOCK_TYPES)
    )
    widths, groups = config.block_out_channels, config.norm_num_groups
    require(len(widths) <= _MOST_STAGES, _WHAT, "block_out_channels", widths, f"at most {_MOST_STAGES} widths")
    require(all(n % groups == 0 for n in widths), _WHAT, "norm_num_groups", groups, f"a divisor of each of {widths}")
    layers = config.layers_per_block
    require(layers <= MOST_LAYERS, _WHAT, "layers_per_block", layers, f"at most {MOST_LAYERS}")
    for name, value in _block_types(config).items():
        given = config_json.get(name, value)
        same = isinstance(given, list | tuple) and tuple(given) == value
        require(same, _WHAT, name, given, f"{shown(value)}: no other is supported")
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
    classes = ("CogVideoXDownBlock3D", "CogVideoXUpBlock3D")
    return {name: (kind,) * len(config.block_out_channels) for name, kind in zip(_BLOCK_TYPES, classes, strict=True)}

"""Released DINOv2 weights, to our parameters and their sizes.

Two layouts are published: state dicts of facebookresearch/dinov2 (`dinov2_vitb14_pretrain.pth`), whose names the
backbone of Video Depth Anything has too, and folders of transformers (`facebook/dinov2-base`: `config.json` and
`model.safetensors`). Sources of the names: `DinoVisionTransformer` there, and transformers' `conversion_mapping.py`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sr_jax.conversion.rules import TensorRule, check_tensors, convert_state_dict, weight_and_bias
from sr_jax.conversion.state_dict import read_state_dict
from sr_jax.errors import UserError
from sr_jax.models.dinov2 import DINOv2, DINOv2Config
from sr_jax.models.functional import Functional, Params

FILES = ("config.json", "model.safetensors")
"""What a folder of transformers holds."""

# Module of the original state dict, its layout, and where it goes; each has a weight and a bias.
_BLOCK = {
    "norm1": ("same", "norm1"),
    "attn.qkv": ("linear", "qkv"),
    "attn.proj": ("linear", "proj"),
    "norm2": ("same", "norm2"),
}
_FEED_FORWARD = {
    False: {"mlp.fc1": ("linear", "fc1"), "mlp.fc2": ("linear", "fc2")},
    True: {"mlp.w12": ("linear", "fc1"), "mlp.w3": ("linear", "fc2")},
}
# Names of the original, and of transformers: one, or several that are joined along their first axis.
_OUTER_NAMES = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_BLOCK_NAMES: dict[str, tuple[str, ...]] = {
    "norm1": ("norm1",),
    "attn.qkv": tuple(f"attention.attention.{part}" for part in ("query", "key", "value")),
    "attn.proj": ("attention.output.dense",),
    "ls1.gamma": ("layer_scale1.lambda1",),
    "norm2": ("norm2",),
    "ls2.gamma": ("layer_scale2.lambda1",),
}
_FEED_FORWARD_NAMES = {
    False: {"mlp.fc1": ("mlp.fc1",), "mlp.fc2": ("mlp.fc2",)},
    True: {"mlp.w12": ("mlp.weights_in",), "mlp.w3": ("mlp.weights_out",)},
}
# Of DINOv2's own training, which hid patches: in files of both layouts, and read by nothing here.
_UNUSED = ("mask_token", "embeddings.mask_token")
_FIELDS = {
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "patch_size": "patch_size",
    "image_size": "image_size",
    "mlp_ratio": "mlp_ratio",
}
# The one value that a transformers config may have of what is no field of ours.
_FIXED = {"hidden_act": "gelu", "qkv_bias": True, "num_channels": 3}
# Of every released size.
_HEAD_WIDTH = 64


def rules(config: DINOv2Config, source: str = "", target: tuple[str, ...] = ()) -> list[TensorRule]:
    """Where every tensor of an original state dict lives.

    Args:
        config: Of the network.
        source: What stands before every name.
        target: Where the network's parameters are in those that are wanted.
    """
    result = [
        TensorRule(
            f"{source}patch_embed.proj.weight",
            (*target, "patch_embed", "kernel"),
            "patches",
            None,
            (config.patch_size,) * 2,
        ),
        TensorRule(f"{source}patch_embed.proj.bias", (*target, "patch_embed", "bias"), "same"),
        TensorRule(f"{source}cls_token", (*target, "cls_token"), "unbatched"),
        TensorRule(f"{source}pos_embed", (*target, "pos_embed"), "unbatched"),
        *weight_and_bias(f"{source}norm", (*target, "norm"), "same"),
    ]
    for layer in range(config.num_layers):
        block = f"{source}blocks.{layer}"
        for name, (layout, ours) in (_BLOCK | _FEED_FORWARD[config.swiglu]).items():
            result += weight_and_bias(f"{block}.{name}", (*target, "blocks", ours), layout, layer)
        for name in ("ls1", "ls2"):
            result.append(TensorRule(f"{block}.{name}.gamma", (*target, "blocks", name), "same", layer))
    return result


def read_release(path: Path) -> tuple[DINOv2Config, Params, Path]:
    """The sizes and parameters of released weights, and the file that holds these.

    Args:
        path: A folder of transformers, or a state dict of the original (`.pth`, or the same tensors as `.safetensors`).

    Raises:
        UserError: If something is missing, damaged, or not a DINOv2 without registers.
    """
    if path.is_dir():
        config, weights = _config_of_folder(path / FILES[0]), path / FILES[1]
        tensors = _original_names(config, _without_unused(read_state_dict(weights)), weights)
    else:
        weights, tensors = path, _without_unused(read_state_dict(path))
        config = _config_of_tensors(tensors, path)
    network = Functional(lambda rngs: DINOv2(config, rngs=rngs))
    try:
        return config, convert_state_dict(rules(config), tensors, network.abstract_params()), weights
    except UserError as error:
        raise UserError(f"{weights} is no DINOv2: {error}") from error


def _without_unused(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: tensor for name, tensor in tensors.items() if name not in _UNUSED}


def _config_of_folder(path: Path) -> DINOv2Config:
    """The sizes that a `config.json` of transformers tells.

    Positions are interpolated as transformers does it: without the offset that the original adds.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"no config of a DINOv2 at {path}: name a folder that holds {' and '.join(FILES)}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: it must be the config.json of a DINOv2") from error
    if not isinstance(fields, dict) or fields.get("model_type") != "dinov2":
        kind = fields.get("model_type") if isinstance(fields, dict) else fields
        raise UserError(f"{path} is of a {kind!r}: only 'dinov2' is known, without registers")
    sizes = {ours: fields.get(theirs) for ours, theirs in _FIELDS.items()}
    strange = [f"{_FIELDS[name]} {size!r}" for name, size in sizes.items() if type(size) is not int or size < 1]
    strange += [f"{name} {fields[name]!r}" for name, value in _FIXED.items() if fields.get(name, value) != value]
    if strange:
        raise UserError(f"{path} has {', '.join(strange)}: no released DINOv2 has that")
    return DINOv2Config(
        **sizes,
        swiglu=bool(fields.get("use_swiglu_ffn", False)),
        interpolate_offset=0.0,
        layer_norm_eps=float(fields.get("layer_norm_eps", 1e-6)),
    )


def _config_of_tensors(tensors: Mapping[str, np.ndarray], path: Path) -> DINOv2Config:
    """The sizes that the tensors of an original state dict tell."""
    if "register_tokens" in tensors:
        raise UserError(f"{path} is a DINOv2 with registers: use one without (dinov2_vitb14_pretrain.pth)")
    try:
        width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        positions = tensors["pos_embed"].shape[1] - 1
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path} is no state dict of a DINOv2: it lacks the embedding of patches") from error
    layers = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    return DINOv2Config(
        hidden_size=width,
        num_layers=layers,
        num_attention_heads=max(width // _HEAD_WIDTH, 1),
        patch_size=patch,
        image_size=round(positions**0.5) * patch,
        swiglu="blocks.0.mlp.w12.weight" in tensors,
    )


def _original_names(config: DINOv2Config, tensors: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """The tensors of transformers under the names of the original.

    Raises:
        UserError: Naming those that are missing, and those that do not belong there.
    """
    names = _names_in_transformers(config)
    expected = [TensorRule(name, (), "same") for parts in names.values() for name in parts]
    try:
        check_tensors(expected, {name: tensor.shape for name, tensor in tensors.items()}, {})
    except UserError as error:
        raise UserError(f"{path} is no DINOv2: {error}") from error
    return {
        name: np.concatenate([tensors[part] for part in parts]) if len(parts) > 1 else tensors[parts[0]]
        for name, parts in names.items()
    }


def _names_in_transformers(config: DINOv2Config) -> dict[str, tuple[str, ...]]:
    """What transformers calls each tensor of the original, or its parts."""
    modules = {ours: (theirs,) for ours, theirs in _OUTER_NAMES.items()}
    for layer in range(config.num_layers):
        for name, theirs in (_BLOCK_NAMES | _FEED_FORWARD_NAMES[config.swiglu]).items():
            modules[f"blocks.{layer}.{name}"] = tuple(f"encoder.layer.{layer}.{part}" for part in theirs)
    alone = ("cls_token", "pos_embed", "gamma")
    names = {}
    for name, parts in modules.items():
        for ending in ("",) if name.endswith(alone) else (".weight", ".bias"):
            names[f"{name}{ending}"] = tuple(f"{part}{ending}" for part in parts)
    return names

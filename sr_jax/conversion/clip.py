"""Folders of transformers with a CLIP, to our parameters and their sizes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sr_jax.conversion.rules import TensorRule, convert_state_dict, weight_and_bias
from sr_jax.conversion.state_dict import read_state_dict
from sr_jax.errors import UserError
from sr_jax.models.clip import CLIP, CLIPConfig, TowerConfig
from sr_jax.models.functional import Functional, Params

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", ("tokenizer.json", "tokenizer_config.json")
FILES = (CONFIG, WEIGHTS, *TOKENIZER)
"""What is read of a folder."""

_BLOCK = {
    **{f"self_attn.{name}": ("linear", name) for name in ("q_proj", "k_proj", "v_proj", "out_proj")},
    "mlp.fc1": ("linear", "fc1"),
    "mlp.fc2": ("linear", "fc2"),
    "layer_norm1": ("same", "layer_norm1"),
    "layer_norm2": ("same", "layer_norm2"),
}
# What the defaults of transformers' `CLIPTextConfig` and `CLIPVisionConfig` are: files leave out what has them.
_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
_TEXT |= {"vocab_size": 49408, "max_position_embeddings": 77, "hidden_act": "quick_gelu"}
_VISION = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_VISION |= {"image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu"}
_ACTIVATIONS = ("quick_gelu", "gelu")


def read_folder(folder: Path) -> tuple[CLIPConfig, Params]:
    """Sizes and parameters of a CLIP.

    Raises:
        UserError: If a file is missing or damaged, or is not of a CLIP.
    """
    try:
        config = config_from_fields(json.loads((folder / CONFIG).read_text()))
    # A missing file, one that is no JSON and one of another model.
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / CONFIG} is no config of a CLIP ({error}): name a folder of transformers") from error
    tensors = read_state_dict(folder / WEIGHTS)
    try:
        return config, params_from_state_dict(config, tensors)
    except UserError as error:
        raise UserError(f"{folder / WEIGHTS} is no CLIP: {error}") from error


def config_from_fields(fields: Mapping[str, Any]) -> CLIPConfig:
    """Our config for the fields of a `config.json`.

    Raises:
        ValueError: For a model of another kind, or an activation that is not known.
    """
    if fields.get("model_type") != "clip":
        raise ValueError(f"its model_type is {fields.get('model_type')!r}")
    text, vision = _TEXT | fields.get("text_config", {}), _VISION | fields.get("vision_config", {})
    return CLIPConfig(
        vision=_tower(vision),
        text=_tower(text),
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        vocabulary=text["vocab_size"],
        positions=text["max_position_embeddings"],
        embedding=fields.get("projection_dim", 512),
    )


def params_from_state_dict(config: CLIPConfig, tensors: Mapping[str, np.ndarray]) -> Params:
    """Our parameters.

    Args:
        config: Of the network.
        tensors: The whole state dict; the temperature, and numbers of positions, are left out.

    Raises:
        UserError: Naming every missing, unexpected and misshapen tensor.
    """
    used = {name: t for name, t in tensors.items() if name != "logit_scale" and not name.endswith("position_ids")}
    network = Functional(lambda rngs: CLIP(config, rngs=rngs))
    return convert_state_dict(_rules(config), used, network.abstract_params())


def _rules(config: CLIPConfig) -> list[TensorRule]:
    vision, text = "vision_model.embeddings", "text_model.embeddings"
    side = (config.patch_size,) * 2
    rules = [
        TensorRule(f"{vision}.class_embedding", ("class_embedding",), "same"),
        TensorRule(f"{vision}.patch_embedding.weight", ("patch_embedding", "kernel"), "patches", None, side),
        TensorRule(f"{vision}.position_embedding.weight", ("image_positions",), "same"),
        *weight_and_bias("vision_model.pre_layrnorm", ("pre_norm",), "same"),
        *weight_and_bias("vision_model.post_layernorm", ("post_norm",), "same"),
        TensorRule("visual_projection.weight", ("visual_projection", "kernel"), "linear"),
        TensorRule(f"{text}.token_embedding.weight", ("token_embedding",), "same"),
        TensorRule(f"{text}.position_embedding.weight", ("text_positions",), "same"),
        *weight_and_bias("text_model.final_layer_norm", ("final_norm",), "same"),
        TensorRule("text_projection.weight", ("text_projection", "kernel"), "linear"),
    ]
    for name, tower in (("vision", config.vision), ("text", config.text)):
        for layer in range(tower.num_layers):
            block = f"{name}_model.encoder.layers.{layer}"
            for source, (layout, target) in _BLOCK.items():
                rules += weight_and_bias(f"{block}.{source}", (name, layer, target), layout)
    return rules


def _tower(fields: Mapping[str, Any]) -> TowerConfig:
    if fields["hidden_act"] not in _ACTIVATIONS:
        raise ValueError(f"its hidden_act is {fields['hidden_act']!r}")
    return TowerConfig(
        width=fields["hidden_size"],
        hidden=fields["intermediate_size"],
        num_layers=fields["num_hidden_layers"],
        num_heads=fields["num_attention_heads"],
        activation=fields["hidden_act"],
    )

"""Random LoRA files of a tiny transformer in every layout, with what each adds to the weights, in plain NumPy."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy

RANK = 3
Q, K, V, OUT = (f"transformer_blocks.1.attn1.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0"))
FF = "transformer_blocks.0.ff.net.0.proj"


class Case(NamedTuple):
    """A LoRA file.

    Attributes:
        tensors: Its content.
        changes: What it adds to the weights `[out, in]`, by diffusers' names of the layers.
        metadata: Beside its tensors.
        adapter_config: What PEFT writes beside it; {}: nothing.
    """

    tensors: Mapping[str, np.ndarray]
    changes: Mapping[str, np.ndarray]
    metadata: Mapping[str, str] = {}
    adapter_config: Mapping[str, object] = {}

    def write(self, folder: Path) -> Path:
        """Writes it as the tools do that have its layout."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.adapter_config:
            (folder / "adapter_config.json").write_text(json.dumps(self.adapter_config))
        path = folder / ("adapter_model.safetensors" if self.adapter_config else "lora.safetensors")
        safetensors.numpy.save_file(dict(self.tensors), path, metadata=dict(self.metadata) or None)
        return folder if self.adapter_config else path


def factors(seed: int, outputs: int = 32, inputs: int = 32, rank: int = RANK) -> tuple[np.ndarray, np.ndarray]:
    """`A` `[rank, in]` and `B` `[out, rank]`: the same bits on every machine."""
    rng = np.random.default_rng(seed)
    return tuple(rng.uniform(-0.5, 0.5, shape).astype(np.float32) for shape in ((rank, inputs), (outputs, rank)))


def _product(pair: tuple[np.ndarray, np.ndarray], scale: float) -> np.ndarray:
    a, b = (factor.astype(np.float64) for factor in pair)
    return scale * b @ a


def _plain(name_of: Mapping[str, str], down: str, up: str, alpha: float | None) -> Case:
    """Two layers of different ranks under the names of a layout."""
    tensors, changes = {}, {}
    for seed, (layer, pair) in enumerate({Q: factors(1), FF: factors(2, 128, 32, rank=2)}.items()):
        rank = len(pair[0])
        tensors |= {f"{name_of[layer]}{down}": pair[0], f"{name_of[layer]}{up}": pair[1]}
        if alpha is not None:
            tensors[f"{name_of[layer]}.alpha"] = np.array(alpha + seed, np.float32)
        changes[layer] = _product(pair, 1.0 if alpha is None else (alpha + seed) / rank)
    return Case(tensors, changes)


def _configured(prefix: str, config: dict, q_scale: float, ff_scale: float) -> Case:
    case = _plain({layer: f"{prefix}{layer}" for layer in (Q, FF)}, ".lora_A.weight", ".lora_B.weight", None)
    changes = {Q: q_scale * case.changes[Q], FF: ff_scale * case.changes[FF]}
    return case._replace(changes=changes, adapter_config=config)


def _of_diffusers() -> Case:
    config = {"r": 3, "lora_alpha": 6, "rank_pattern": {FF: 2}, "alpha_pattern": {"ff.net.0.proj": 5}}
    metadata = {f"transformer.{name}": value for name, value in config.items()}
    metadata["transformer.target_modules"] = [Q, FF]
    case = _configured("transformer.", {}, 6 / 3, 5 / 2)
    # One entry: the library writes several in an order of chance, and records know files by their bytes.
    return case._replace(metadata={"lora_adapter_metadata": json.dumps(metadata)})


def _of_peft(**more: object) -> Case:
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "rank_pattern": {FF: 2}, "target_modules": [Q, FF]} | more
    root = 0.5 if more.get("use_rslora") else 1.0
    return _configured("base_model.model.", config, 6 / 3**root, 6 / 2**root)


def _fused() -> Case:
    """What the original model keeps in one layer: queries, keys and values, and the modulations of two norms."""
    prefix = "diffusion_model."
    qkv, adaln = factors(3, 96, 32), factors(4, 12 * 32, 12, rank=2)
    names = {
        f"{prefix}transformer.layers.1.attention.query_key_value": qkv,
        f"{prefix}mixins.adaln_layer.adaLN_modulations.0.1": adaln,
    }
    tensors = {}
    for name, (a, b) in names.items():
        tensors |= {f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b, f"{name}.alpha": np.float32([1.5])}
    q, k, v = np.split(_product(qkv, 1.5 / 3), 3)
    first, second, text_first, text_second = np.split(_product(adaln, 1.5 / 2), 4)
    norms = {
        "transformer_blocks.0.norm1.linear": np.concatenate([first, text_first]),
        "transformer_blocks.0.norm2.linear": np.concatenate([second, text_second]),
    }
    return Case(tensors, {Q: q, K: k, V: v} | norms)


def _convolution() -> Case:
    """The patches of version 1.0, in which a factor has rows and columns."""
    a, b = factors(5, 32, 4 * 2 * 2)
    name, change = "lora_unet__patch_embed_proj", _product((a, b), 2.0 / 3)
    tensors = {
        f"{name}.lora_down.weight": a.reshape(3, 4, 2, 2),
        f"{name}.lora_up.weight": b.reshape(32, 3, 1, 1),
        f"{name}.alpha": np.array(2, np.float32),
    }
    return Case(tensors, {"patch_embed.proj": change.reshape(32, 4, 2, 2)})


_KOHYA = {Q: "lora_unet_transformer_blocks_1_attn1_to_q", FF: "lora_unet_transformer_blocks_0_ff_net_0_proj"}
_COMFYUI = {Q: "diffusion_model.blocks.1.q", FF: "diffusion_model.blocks.0.ff_proj"}
CASES = {
    "diffusers": _plain({layer: f"transformer.{layer}" for layer in (Q, FF)}, ".lora_A.weight", ".lora_B.weight", None),
    "diffusers, alphas in metadata": _of_diffusers(),
    "diffusers, no prefix": _plain({Q: Q, FF: FF}, ".lora_A.weight", ".lora_B.weight", None),
    "diffusers, of old": _plain(
        {layer: f"transformer.{layer}" for layer in (Q, FF)}, ".lora.down.weight", ".lora.up.weight", None
    ),
    "peft": _of_peft(),
    "peft, rank-stabilised": _of_peft(use_rslora=True),
    "kohya": _plain(_KOHYA, ".lora_down.weight", ".lora_up.weight", 1.25),
    "kohya, ComfyUI's names": _plain(
        {Q: "lora_unet_blocks_1_q", FF: "lora_unet_blocks_0_ff_proj"}, ".lora_down.weight", ".lora_up.weight", 1.25
    ),
    "OneTrainer": _plain(
        {layer: name.replace("unet", "transformer") for layer, name in _KOHYA.items()},
        ".lora_down.weight",
        ".lora_up.weight",
        1.25,
    ),
    "comfyui": _plain(_COMFYUI, ".lora_A.weight", ".lora_B.weight", 1.25),
    "comfyui, no alpha": _plain(_COMFYUI, ".lora_A.weight", ".lora_B.weight", None),
    "comfyui, down and up": _plain(_COMFYUI, ".lora_down.weight", ".lora_up.weight", 1.25),
    "diffusers' names behind ComfyUI's prefix": _plain(
        {layer: f"diffusion_model.{layer}" for layer in (Q, FF)}, ".lora_A.weight", ".lora_B.weight", 1.25
    ),
    "original, fused": _fused(),
    "kohya, a convolution": _convolution(),
}
"""By what is special about it."""

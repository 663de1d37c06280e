"""A tiny DINOv2 with random weights, which are named as in transformers."""

import re
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import safetensors.numpy

from sr_jax.models.dinov2 import DINOv2Config
from tests.originals.recording import random_weights

# Arguments of transformers' config.
OPTIONS = {"hidden_size": 24, "num_hidden_layers": 5, "num_attention_heads": 3, "image_size": 70}
# transformers interpolates positions without the offset that the original adds.
TINY = DINOv2Config(hidden_size=24, num_layers=5, num_attention_heads=3, image_size=70, interpolate_offset=0.0)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Every one random, so that none is without effect."""

    def rule(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
        if len(shape) == 1:
            return 1 + np.float32(0.3) * noise
        return noise / np.sqrt(np.float32(np.prod(shape[1:])))

    return random_weights(shapes, 0, rule)


def our_params(tensors: Mapping[str, np.ndarray]) -> dict:
    """Our parameters, rearranged here one by one."""
    get = tensors.__getitem__

    def module(name, linear):
        weight = get(f"{name}.weight")
        return {"kernel" if linear else "scale": weight.T if linear else weight, "bias": get(f"{name}.bias")}

    def block(layer):
        name = f"encoder.layer.{layer}"
        qkv = [module(f"{name}.attention.{part}", True) for part in ("q_proj", "k_proj", "v_proj")]
        return {
            "norm1": module(f"{name}.norm1", False),
            "qkv": {key: np.concatenate([part[key] for part in qkv], axis=-1) for key in ("kernel", "bias")},
            "proj": module(f"{name}.attention.o_proj", True),
            "ls1": get(f"{name}.layer_scale1.lambda1"),
            "norm2": module(f"{name}.norm2", False),
            "fc1": module(f"{name}.mlp.fc1", True),
            "fc2": module(f"{name}.mlp.fc2", True),
            "ls2": get(f"{name}.layer_scale2.lambda1"),
        }

    patches = "embeddings.patch_embeddings.projection"
    return {
        "patch_embed": {
            "kernel": get(f"{patches}.weight").reshape(TINY.hidden_size, -1).T,
            "bias": get(f"{patches}.bias"),
        },
        "cls_token": get("embeddings.cls_token")[0],
        "pos_embed": get("embeddings.position_embeddings")[0],
        "blocks": jax.tree.map(lambda *rows: np.stack(rows), *map(block, range(TINY.num_layers))),
        "norm": module("layernorm", False),
    }


def write_folder(folder: Path, config: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Writes a folder as transformers does, with these weights: of what `tests.originals.dinov2.released` gives."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config)
    safetensors.numpy.save_file(weights(shapes), folder / "model.safetensors", metadata={"format": "pt"})


_ORIGINAL_NAMES = (
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.", ""),
    (r"^layernorm", "norm"),
    (r"^encoder\.layer", "blocks"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    (r"mlp\.weights_in", "mlp.w12"),
    (r"mlp\.weights_out", "mlp.w3"),
)


def original_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The same weights as `write_folder` writes, under the names of facebookresearch/dinov2."""
    tensors = {}
    for name, tensor in weights(shapes).items():
        for pattern, other in _ORIGINAL_NAMES:
            name = re.sub(pattern, other, name)
        tensors[name] = tensor
    for name in [name for name in tensors if ".attention.attention.query." in name]:
        parts = [tensors.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        tensors[name.replace("attention.attention.query", "attn.qkv")] = np.concatenate(parts)
    return tensors

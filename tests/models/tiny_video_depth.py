"""A tiny Video Depth Anything with random weights, whose names and shapes are those of the published code."""

import math
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors.numpy

from sr_jax.conversion.video_depth import params_from_state_dict
from sr_jax.models.dinov2 import DINOv2Config
from sr_jax.models.functional import Functional
from sr_jax.models.video_depth import VideoDepthAnything, VideoDepthAnythingConfig
from tests.originals.recording import random_weights

SIZES = {
    "hidden_size": 24,
    "num_layers": 5,
    "num_attention_heads": 3,
    "image_size": 70,
    "taps": (0, 2, 3, 4),
    "features": 32,
    "out_channels": (8, 16, 32, 64),
}
TINY = VideoDepthAnythingConfig(
    DINOv2Config(**{name: SIZES[name] for name in ("hidden_size", "num_layers", "num_attention_heads", "image_size")}),
    SIZES["taps"],
    SIZES["features"],
    SIZES["out_channels"],
)
NETWORK = Functional(lambda rngs: VideoDepthAnything(TINY, rngs=rngs))
_HIDDEN_FEATURES = 32
"""Of the last convolution but one, in every size."""


def weights(sizes: Mapping, seed: int, *, temporal: bool = True) -> dict[str, np.ndarray]:
    """Every tensor of a released file, random, so that none is without effect.

    Args:
        sizes: Of the network, as `SIZES`.
        seed: Of the weights.
        temporal: Whether the temporal modules change anything.
    """
    tensors = random_weights(shapes(sizes), seed, _random_weight)
    # So that the last ReLU lets enough through to compare.
    tensors["head.scratch.output_conv2.2.bias"] += 0.5
    tensors["head.scratch.output_conv2.2.weight"] = np.abs(tensors["head.scratch.output_conv2.2.weight"])
    if not temporal:
        for name, tensor in tensors.items():
            if "motion_modules" in name and "proj_out" in name:
                tensor[...] = 0
    widths = (*sizes["out_channels"][2:], sizes["features"], sizes["features"])
    tables = {
        f"{_block(module)}.attention_blocks.{number}.pos_encoder.pe": sinusoids(32, width)[None]
        for module, width in enumerate(widths)
        for number in range(2)
    }
    return tensors | tables


def shapes(sizes: Mapping) -> dict[str, tuple[int, ...]]:
    """Of every tensor of a released file but its tables of sinusoids, by its published name."""
    return _backbone_shapes(sizes) | _head_shapes(sizes) | _temporal_shapes(sizes)


def our_params(tensors: Mapping[str, np.ndarray], config: VideoDepthAnythingConfig = TINY) -> dict:
    """Our parameters from the tensors of a file."""
    return params_from_state_dict(config, tensors)


def save(tensors: Mapping[str, np.ndarray], path: Path, *, half: bool = False) -> Path:
    """Writes tensors as a `.safetensors` file or with `torch.save`, and in bfloat16 when `half`."""
    if path.suffix == ".safetensors":
        dtype = ml_dtypes.bfloat16 if half else np.float32
        safetensors.numpy.save_file({name: tensor.astype(dtype) for name, tensor in tensors.items()}, path)
    else:
        import torch

        dtype = torch.bfloat16 if half else torch.float32
        torch.save({name: torch.from_numpy(tensor).to(dtype) for name, tensor in tensors.items()}, path)
    return path


def sinusoids(length: int, width: int) -> np.ndarray:
    """Row t: sin(t / 10000^(2i/width)) at channel 2i, the cosine at 2i + 1."""
    table = np.zeros((length, width), np.float32)
    for t in range(length):
        for i in range(width // 2):
            angle = t / 10000 ** (2 * i / width)
            table[t, 2 * i], table[t, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


def _random_weight(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
    is_scale = len(shape) == 1 and name.endswith(("weight", "gamma"))
    scale = 0.3 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5
    if "pos_embed" in name or "cls_token" in name:
        scale = 0.5
    return is_scale + np.float32(scale) * noise


def _backbone_shapes(sizes: Mapping) -> dict[str, tuple[int, ...]]:
    width, positions = sizes["hidden_size"], (sizes["image_size"] // 14) ** 2
    result = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + positions, width),
        "mask_token": (1, width),
        **_weight_and_bias("patch_embed.proj", width, 3, 14, 14),
        **_weight_and_bias("norm", width),
    }
    for number in range(sizes["num_layers"]):
        block = f"blocks.{number}"
        result |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
        result |= _weight_and_bias(f"{block}.norm1", width) | _weight_and_bias(f"{block}.norm2", width)
        result |= _weight_and_bias(f"{block}.attn.qkv", 3 * width, width)
        result |= _weight_and_bias(f"{block}.attn.proj", width, width)
        result |= _weight_and_bias(f"{block}.mlp.fc1", 4 * width, width)
        result |= _weight_and_bias(f"{block}.mlp.fc2", width, 4 * width)
    return {f"pretrained.{name}": shape for name, shape in result.items()}


def _head_shapes(sizes: Mapping) -> dict[str, tuple[int, ...]]:
    widths, features = sizes["out_channels"], sizes["features"]
    result = {
        **_weight_and_bias("resize_layers.0", widths[0], widths[0], 4, 4),
        **_weight_and_bias("resize_layers.1", widths[1], widths[1], 2, 2),
        **_weight_and_bias("resize_layers.3", widths[3], widths[3], 3, 3),
        **_weight_and_bias("scratch.output_conv1", features // 2, features, 3, 3),
        **_weight_and_bias("scratch.output_conv2.0", _HIDDEN_FEATURES, features // 2, 3, 3),
        **_weight_and_bias("scratch.output_conv2.2", 1, _HIDDEN_FEATURES, 1, 1),
    }
    for level, width in enumerate(widths):
        result |= _weight_and_bias(f"projects.{level}", width, sizes["hidden_size"], 1, 1)
        result[f"scratch.layer{level + 1}_rn.weight"] = (features, width, 3, 3)
        block = f"scratch.refinenet{level + 1}"
        result |= _weight_and_bias(f"{block}.out_conv", features, features, 1, 1)
        for unit in (1, 2):
            for conv in (1, 2):
                result |= _weight_and_bias(f"{block}.resConfUnit{unit}.conv{conv}", features, features, 3, 3)
    return {f"head.{name}": shape for name, shape in result.items()}


def _temporal_shapes(sizes: Mapping) -> dict[str, tuple[int, ...]]:
    result: dict[str, tuple[int, ...]] = {}
    for module, width in enumerate((*sizes["out_channels"][2:], sizes["features"], sizes["features"])):
        block = _block(module)
        for outer in ("norm", "proj_in", "proj_out"):
            axes = (width,) if outer == "norm" else (width, width)
            result |= _weight_and_bias(f"{block.removesuffix('.transformer_blocks.0')}.{outer}", *axes)
        for number in range(2):
            result |= _weight_and_bias(f"{block}.norms.{number}", width)
            attention = f"{block}.attention_blocks.{number}"
            result |= {f"{attention}.{role}.weight": (width, width) for role in ("to_q", "to_k", "to_v")}
            result |= _weight_and_bias(f"{attention}.to_out.0", width, width)
        result |= _weight_and_bias(f"{block}.ff_norm", width)
        # Values and their gates.
        result |= _weight_and_bias(f"{block}.ff.net.0.proj", 8 * width, width)
        result |= _weight_and_bias(f"{block}.ff.net.2", width, 4 * width)
    return result


def _block(module: int) -> str:
    return f"head.motion_modules.{module}.temporal_transformer.transformer_blocks.0"


def _weight_and_bias(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    """The bias has as many values as the weight has outputs."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}

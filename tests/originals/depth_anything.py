"""transformers' Depth Anything, the network of one frame, with the weights of `tests.models.tiny_video_depth`."""

from collections.abc import Mapping

import numpy as np
import torch
import transformers

from tests.models.tiny_video_depth import weights

# transformers' names of the head's modules and those of the published state dict.
_HEAD_NAMES = {
    "head.conv1": "scratch.output_conv1",
    "head.conv2": "scratch.output_conv2.0",
    "head.conv3": "scratch.output_conv2.2",
    **{f"neck.reassemble_stage.layers.{n}.projection": f"projects.{n}" for n in range(4)},
    **{f"neck.reassemble_stage.layers.{n}.resize": f"resize_layers.{n}" for n in (0, 1, 3)},
    **{f"neck.convs.{n}": f"scratch.layer{n + 1}_rn" for n in range(4)},
    **{f"neck.fusion_stage.layers.{n}.projection": f"scratch.refinenet{4 - n}.out_conv" for n in range(4)},
    **{
        f"neck.fusion_stage.layers.{n}.residual_layer{unit}.convolution{conv}": (
            f"scratch.refinenet{4 - n}.resConfUnit{unit}.conv{conv}"
        )
        for n in range(4)
        for unit in (1, 2)
        for conv in (1, 2)
    },
}


def depth(sizes: Mapping, seed: int, frames: np.ndarray) -> np.ndarray:
    """Depth `[t, h, w]` of normalised frames `[t, h, w, 3]`, each seen alone.

    Args:
        sizes: Of the network (`SIZES`).
        seed: Of its weights; those of the temporal modules have no place here.
        frames: Of one clip.
    """
    with torch.no_grad():
        return _model(sizes, seed)(torch.from_numpy(frames).permute(0, 3, 1, 2)).predicted_depth.numpy()


def num_weights() -> int:
    """Numbers in all weights of the small model."""
    with torch.device("meta"):
        # The defaults are those of the small model.
        model = transformers.DepthAnythingForDepthEstimation(transformers.DepthAnythingConfig())
    return sum(parameter.numel() for parameter in model.parameters())


def _model(sizes: Mapping, seed: int) -> transformers.DepthAnythingForDepthEstimation:
    tensors = weights(sizes, seed)
    config = transformers.DepthAnythingConfig(
        backbone_config=transformers.Dinov2Config(
            hidden_size=sizes["hidden_size"],
            num_hidden_layers=sizes["num_layers"],
            num_attention_heads=sizes["num_attention_heads"],
            image_size=sizes["image_size"],
            patch_size=14,
            layer_norm_eps=1e-6,
            out_indices=[tap + 1 for tap in sizes["taps"]],
            reshape_hidden_states=False,
            apply_layernorm=True,
        ),
        reassemble_hidden_size=sizes["hidden_size"],
        neck_hidden_sizes=list(sizes["out_channels"]),
        fusion_hidden_size=sizes["features"],
        head_hidden_size=32,
        patch_size=14,
    )
    model = transformers.DepthAnythingForDepthEstimation(config).eval()
    theirs = {}
    for name in model.state_dict():
        module, kind = name.rsplit(".", 1)
        if module in _HEAD_NAMES:
            theirs[name] = tensors[f"head.{_HEAD_NAMES[module]}.{kind}"]
    for ours, name in {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "mask_token": "embeddings.mask_token",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }.items():
        theirs[f"backbone.{name}"] = tensors[f"pretrained.{ours}"]
    for layer in range(sizes["num_layers"]):
        ours, name = f"pretrained.blocks.{layer}", f"backbone.encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            for part, values in zip(("q_proj", "k_proj", "v_proj"), np.split(tensors[f"{ours}.attn.qkv.{kind}"], 3)):
                theirs[f"{name}.attention.{part}.{kind}"] = values
            theirs[f"{name}.attention.o_proj.{kind}"] = tensors[f"{ours}.attn.proj.{kind}"]
            for module in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                theirs[f"{name}.{module}.{kind}"] = tensors[f"{ours}.{module}.{kind}"]
        for number in (1, 2):
            theirs[f"{name}.layer_scale{number}.lambda1"] = tensors[f"{ours}.ls{number}.gamma"]
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in theirs.items()})
    return model

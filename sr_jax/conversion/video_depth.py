"""The state dict of a released Video Depth Anything model, to our parameters."""

from collections.abc import Mapping

import numpy as np

from sr_jax.conversion import dinov2
from sr_jax.conversion.rules import TensorRule, convert_state_dict, weight_and_bias
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.models.temporal_attention import frame_positions
from sr_jax.models.video_depth import MAX_FRAMES, VideoDepthAnything, VideoDepthAnythingConfig

# Module of the state dict, its layout, and where it goes; each has a weight and a bias.
_TEMPORAL = {
    "norm": ("same", ("norm",)),
    "proj_in": ("linear", ("proj_in",)),
    "proj_out": ("linear", ("proj_out",)),
    "transformer_blocks.0.ff_norm": ("same", ("ff_norm",)),
    "transformer_blocks.0.ff.net.0.proj": ("linear", ("ff_in",)),
    "transformer_blocks.0.ff.net.2": ("linear", ("ff_out",)),
}
_HEAD = {
    "resize_layers.0": ("upscale_1",),
    "resize_layers.1": ("upscale_2",),
    "resize_layers.3": ("downscale_4",),
    "scratch.output_conv1": ("output_conv1",),
    "scratch.output_conv2.0": ("output_conv2",),
    "scratch.output_conv2.2": ("output_conv3",),
}
_ATTENTION = "head.motion_modules.{module}.temporal_transformer.transformer_blocks.0.attention_blocks.{block}"
_NUM_LEVELS, _NUM_MODULES, _NUM_ATTENTION_BLOCKS = 4, 4, 2
# Of the sinusoids in a file to ours.
_TOLERANCE = 1e-3


def rules(config: VideoDepthAnythingConfig) -> list[TensorRule]:
    """Where every tensor that is used lives."""
    return [*dinov2.rules(config.backbone, "pretrained.", ("pretrained",)), *_head_rules(), *_temporal_rules()]


def unused_tensors(config: VideoDepthAnythingConfig) -> dict[str, tuple[int, ...]]:
    """Tensors of a released state dict that do nothing when depth is estimated, with their shapes.

    They are the mask token of the backbone's own training, and the unit of the coarsest fusion block that would refine
    features of a still coarser level.
    """
    unit = "head.scratch.refinenet4.resConfUnit1"
    width = config.features
    shapes: dict[str, tuple[int, ...]] = {"pretrained.mask_token": (1, config.backbone.hidden_size)}
    for conv in ("conv1", "conv2"):
        shapes |= {f"{unit}.{conv}.weight": (width, width, 3, 3), f"{unit}.{conv}.bias": (width,)}
    return shapes


def position_tables(config: VideoDepthAnythingConfig) -> dict[str, int]:
    """The tables of sinusoids in a released state dict, which are no parameters, with their channels."""
    widths = (*config.out_channels[2:], config.features, config.features)
    return {
        f"{_ATTENTION.format(module=module, block=block)}.pos_encoder.pe": width
        for module, width in enumerate(widths)
        for block in range(_NUM_ATTENTION_BLOCKS)
    }


def params_from_state_dict(config: VideoDepthAnythingConfig, tensors: Mapping[str, np.ndarray]) -> Params:
    """Our parameters, from the tensors of a released file.

    Args:
        config: Of the network.
        tensors: The whole state dict.

    Raises:
        UserError: Naming every missing, unexpected and misshapen tensor; or when the file's frame positions are not
            the sinusoids of the released models.
    """
    idle, tables = unused_tensors(config), position_tables(config)
    used = {name: tensor for name, tensor in tensors.items() if name not in tables and idle.get(name) != tensor.shape}
    network = Functional(lambda rngs: VideoDepthAnything(config, rngs=rngs))
    params = convert_state_dict(rules(config), used, network.abstract_params())
    for name, width in tables.items():
        expected = frame_positions(MAX_FRAMES, width)[None]
        table = tensors.get(name, expected)
        if table.shape != expected.shape or np.abs(table - expected).max() > _TOLERANCE:
            raise UserError(f"{name} does not hold the {MAX_FRAMES} sinusoids of {width} channels of a released model")
    return params


def _head_rules() -> list[TensorRule]:
    result = []
    for level in range(_NUM_LEVELS):
        result += weight_and_bias(f"head.projects.{level}", ("head", "projects", level), "conv2d")
        result.append(
            TensorRule(f"head.scratch.layer{level + 1}_rn.weight", ("head", "layers_rn", level, "kernel"), "conv2d")
        )
        source, target = f"head.scratch.refinenet{level + 1}", ("head", "refinenets", level)
        result += weight_and_bias(f"{source}.out_conv", (*target, "out_conv"), "conv2d")
        units = ("resConfUnit1", "resConfUnit2") if level < _NUM_LEVELS - 1 else ("resConfUnit2",)
        for unit in units:
            for conv in ("conv1", "conv2"):
                result += weight_and_bias(f"{source}.{unit}.{conv}", (*target, unit, conv), "conv2d")
    # Of the transposed convolutions too: their input channels come first in PyTorch, and last in ours.
    for name, target in _HEAD.items():
        result += weight_and_bias(f"head.{name}", ("head", *target), "conv2d")
    return result


def _temporal_rules() -> list[TensorRule]:
    result = []
    for module in range(_NUM_MODULES):
        source = f"head.motion_modules.{module}.temporal_transformer"
        target = ("head", "motion_modules", module)
        for name, (layout, path) in _TEMPORAL.items():
            result += weight_and_bias(f"{source}.{name}", (*target, *path), layout)
        for block in range(_NUM_ATTENTION_BLOCKS):
            result += weight_and_bias(f"{source}.transformer_blocks.0.norms.{block}", (*target, "norms", block), "same")
            attention, path = _ATTENTION.format(module=module, block=block), (*target, "attention_blocks", block)
            for name in ("to_q", "to_k", "to_v"):
                result.append(TensorRule(f"{attention}.{name}.weight", (*path, name, "kernel"), "linear"))
            result += weight_and_bias(f"{attention}.to_out.0", (*path, "to_out"), "linear")
    return result

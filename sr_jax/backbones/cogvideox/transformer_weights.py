"""The released CogVideoX transformers: configuration and weights (diffusers: `CogVideoXTransformer3DModel`)."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.conversion.fields import MOST_LAYERS, read_fields, require
from sr_jax.conversion.rules import TensorRule

CLASS_NAME = "CogVideoXTransformer3DModel"

# What every released model has in common, and this implementation computes.
_FIXED = {
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "dropout": 0.0,
    "attention_bias": True,
    "activation_fn": "gelu-approximate",
    "timestep_activation_fn": "silu",
    "norm_elementwise_affine": True,
}
_WHAT = "the transformer's config"
# Of a learned position table, which is made on the host: far beyond what any video needs.
_MAX_TABLE = 2**28


def config_from_diffusers(config_json: Mapping[str, Any]) -> CogVideoXConfig:
    """Our configuration from a diffusers `config.json`; a field it leaves out has diffusers' default, which is ours.

    Raises:
        UserError: For a field, or a value of one, that this implementation does not compute, or that cannot be.
    """
    config = read_fields(config_json, CogVideoXConfig, what=_WHAT, fixed=_FIXED)
    _check(config)
    return config


def _check(config: CogVideoXConfig) -> None:
    """Checks what fields say together."""
    channels = (config.out_channels, 2 * config.out_channels)
    require(config.in_channels in channels, _WHAT, "in_channels", config.in_channels, " or ".join(map(str, channels)))
    require(config.num_layers <= MOST_LAYERS, _WHAT, "num_layers", config.num_layers, f"at most {MOST_LAYERS}")
    if config.use_rotary_positional_embeddings:
        head = config.attention_head_dim
        require(head % 16 == 0, _WHAT, "attention_head_dim", head, "a multiple of 16, for rotary positions")
    for name in ("sample_height", "sample_width"):
        side = getattr(config, name)
        require(side >= config.patch_size, _WHAT, name, side, f"at least one patch of {config.patch_size}")
    if config.use_learned_positional_embeddings or not config.use_rotary_positional_embeddings:
        require(config.width % 16 == 0, _WHAT, "a width of", config.width, "a multiple of 16, for such positions")
    if config.use_learned_positional_embeddings:
        positions = config.max_text_seq_length + math.prod(config.tokens(config.sample_size))
        numbers = positions * config.width
        require(numbers <= _MAX_TABLE, _WHAT, "a position table of", numbers, f"of at most {_MAX_TABLE} numbers")


def config_to_diffusers(config: CogVideoXConfig) -> dict[str, Any]:
    """The content of a diffusers `config.json`."""
    return {"_class_name": CLASS_NAME} | _FIXED | dataclasses.asdict(config)


def rules(config: CogVideoXConfig) -> list[TensorRule]:
    """Every tensor of the state dict and its place in `CogVideoXTransformer3D`."""
    found = [*_patch_embed(config), *_linears("time_embedding", "linear_1", "linear_2")]
    if config.ofs_embed_dim is not None:
        found += _linears("ofs_embedding", "linear_1", "linear_2")
    for layer in range(config.num_layers):
        found += _block(layer)
    return [*found, *_tail()]


def _patch_embed(config: CogVideoXConfig) -> Iterator[TensorRule]:
    kernel = (config.patch_size, config.patch_size) if config.patch_size_t is None else ()
    path = ("patch_embed", "proj")
    yield TensorRule("patch_embed.proj.weight", (*path, "kernel"), "patches" if kernel else "linear", kernel=kernel)
    if config.patch_bias or config.patch_size_t is not None:
        yield TensorRule("patch_embed.proj.bias", (*path, "bias"), "same")
    yield from _linears("patch_embed", "text_proj")
    if config.use_learned_positional_embeddings:
        yield TensorRule("patch_embed.pos_embedding", ("patch_embed", "pos_embedding"), "unbatched")


def _block(layer: int) -> Iterator[TensorRule]:
    name, path = f"transformer_blocks.{layer}", ("transformer_blocks",)
    for norm in ("norm1", "norm2"):
        yield from _linear(f"{name}.{norm}.linear", (*path, norm, "linear"), layer)
        yield from _norm(f"{name}.{norm}.norm", (*path, norm, "norm"), layer)
    for source, target in (("to_q", "to_q"), ("to_k", "to_k"), ("to_v", "to_v"), ("to_out.0", "to_out")):
        yield from _linear(f"{name}.attn1.{source}", (*path, "attn1", target), layer)
    for norm in ("norm_q", "norm_k"):
        yield from _norm(f"{name}.attn1.{norm}", (*path, "attn1", norm), layer)
    for source, target in (("net.0.proj", "proj_in"), ("net.2", "proj_out")):
        yield from _linear(f"{name}.ff.{source}", (*path, "ff", target), layer)


def _tail() -> Iterator[TensorRule]:
    yield from _norm("norm_final", ("norm_final",))
    yield from _linear("norm_out.linear", ("norm_out", "linear"))
    yield from _norm("norm_out.norm", ("norm_out", "norm"))
    yield from _linear("proj_out", ("proj_out",))


def _linears(parent: str, *names: str) -> Iterator[TensorRule]:
    for name in names:
        yield from _linear(f"{parent}.{name}", (parent, name))


def _linear(source: str, target: tuple[str, ...], layer: int | None = None) -> Iterator[TensorRule]:
    yield TensorRule(f"{source}.weight", (*target, "kernel"), "linear", layer)
    yield TensorRule(f"{source}.bias", (*target, "bias"), "same", layer)


def _norm(source: str, target: tuple[str, ...], layer: int | None = None) -> Iterator[TensorRule]:
    yield TensorRule(f"{source}.weight", (*target, "scale"), "same", layer)
    yield TensorRule(f"{source}.bias", (*target, "bias"), "same", layer)

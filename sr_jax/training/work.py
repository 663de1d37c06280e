"""How much a training step computes: model FLOPs and tokens of one clip."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import ml_collections

from sr_jax.alignment.identity_module import IdentityConfig
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.models.flops import Flops, identity_flops, transformer_flops


@dataclasses.dataclass(frozen=True)
class Work:
    """What one clip costs in training.

    Attributes:
        flops: Model FLOPs: forward and backward pass, without anything that is computed twice to save memory. The
            gradients with respect to the data are counted though no one needs them: at released sizes below 0.1%.
        tokens: Tokens that the trained transformer reads; those of the structure module in stage one.
    """

    flops: int
    tokens: int


def clip_work(
    config: ml_collections.ConfigDict,
    frozen: Mapping[str, Mapping[str, Any]],
    size: tuple[int, int, int],
    text_length: int,
) -> Work:
    """The work of one clip in the stage that `config` describes.

    With a LoRA the transformer's own weights get no gradient, and the products of the factors are left out: at rank 64
    they are 1% of the transformer's.

    Args:
        config: See `configs/`.
        frozen: As `builders.frozen_configs`.
        size: T, H and W of the latents.
        text_length: Text tokens of a caption.
    """
    fields = config.to_dict()
    if config.stage == "stage_one":
        parts = {"structure": _structure(fields, size), "identity": _identity(fields, size)}
        flops = sum(parts[name].training for name in config.train_modules)
        return Work(flops, _tokens(fields["structure"], size, _structure_text(fields)))
    transformer = _transformer(fields["model"], size, text_length)
    flops = transformer.through if config.lora.rank else transformer.training
    if "structure" in frozen:
        flops += _structure(frozen["structure"], size).through
    if "identity" in frozen:
        flops += _identity(frozen["identity"], size).through
    return Work(flops, _tokens(fields["model"], size, text_length))


def _structure(config: Mapping[str, Any], size: tuple[int, int, int]) -> Flops:
    return _transformer(config["structure"], size, _structure_text(config))


def _structure_text(config: Mapping[str, Any]) -> int:
    return config["structure"]["max_text_seq_length"] if config["structure_text"] == "empty_prompt" else 0


def _transformer(section: Mapping[str, Any], size: tuple[int, int, int], text_length: int) -> Flops:
    model = CogVideoXConfig(**section)
    return transformer_flops(model, _padded(model, size), text_length)


def _identity(config: Mapping[str, Any], size: tuple[int, int, int]) -> Flops:
    identity = {name: tuple(v) if isinstance(v, list) else v for name, v in config["identity"].items()}
    return identity_flops(IdentityConfig(**identity), size)


def _tokens(section: Mapping[str, Any], size: tuple[int, int, int], text_length: int) -> int:
    model = CogVideoXConfig(**section)
    return math.prod(model.tokens(_padded(model, size))) + text_length


def _padded(model: CogVideoXConfig, size: tuple[int, int, int]) -> tuple[int, int, int]:
    """The latent's size once its frames are a multiple of the temporal patch (`pad_frames`)."""
    frames, height, width = size
    return (frames + -frames % model.patch[0], height, width)

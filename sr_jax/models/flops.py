"""Floating-point operations of the modules' forward passes, in closed form: 2 for each multiply-add of a product.

What is not a matrix product or a convolution (norms, activations, softmax, rotation) is left out, as in every published
model FLOP utilisation; a convolution counts the zeros that it pads with.
"""

import dataclasses
import math

from sr_jax.alignment.identity_module import IdentityConfig
from sr_jax.backbones.cogvideox.config import CogVideoXConfig


@dataclasses.dataclass(frozen=True)
class Flops:
    """Operations of one forward pass.

    Attributes:
        weights: In products of activations with parameters.
        attention: In products of activations with each other.
    """

    weights: int
    attention: int

    @property
    def forward(self) -> int:
        """Of the forward pass."""
        return self.weights + self.attention

    @property
    def training(self) -> int:
        """Of a forward and a backward pass that trains the parameters: each product has two products behind it."""
        return 3 * self.forward

    @property
    def through(self) -> int:
        """Of a forward pass and a backward pass to the inputs alone, as through a frozen module."""
        return 2 * self.weights + 3 * self.attention

    def __add__(self, other: "Flops") -> "Flops":
        """Of both."""
        return Flops(self.weights + other.weights, self.attention + other.attention)


def transformer_flops(config: CogVideoXConfig, size: tuple[int, int, int], text_length: int) -> Flops:
    """The CogVideoX transformer on one clip.

    Args:
        config: Sizes and variant.
        size: T, H and W of the latent.
        text_length: Text tokens; 0 for the structure module.
    """
    width, time = config.width, config.time_embed_dim
    patch = math.prod(config.patch)
    video = math.prod(config.tokens(size))
    tokens = video + text_length
    # Queries, keys, values and output; a feed-forward of four times the width; two modulations of the clip.
    block = 2 * tokens * (4 + 8) * width**2 + 2 * 2 * time * 6 * width
    ends = 2 * video * width * patch * (config.in_channels + config.out_channels)
    ends += 2 * text_length * config.text_embed_dim * width
    ends += 2 * (width * time + time**2) + 2 * time * 2 * width
    if config.ofs_embed_dim is not None:
        ends += 2 * 2 * config.ofs_embed_dim**2
    return Flops(config.num_layers * block + ends, config.num_layers * 4 * tokens**2 * width)


def identity_flops(config: IdentityConfig, size: tuple[int, int, int]) -> Flops:
    """The identity module on one clip.

    Args:
        config: Sizes.
        size: T, H and W of the latent.
    """
    frames, height, width = size
    channels = config.widths[0]
    total = height * width * 9 * config.latent_channels * (2 if config.use_depth else 1) * channels
    for stage, out in enumerate(config.widths):
        for index in range(config.blocks_per_stage):
            halves = stage > 0 and index == 0
            if halves:
                height, width = math.ceil(height / 2), math.ceil(width / 2)
            total += height * width * (9 * channels * out + 9 * out * out)
            if halves or channels != out:
                total += height * width * channels * out
            channels = out
    return Flops(2 * frames * (total + channels * config.embedding_dim), 0)

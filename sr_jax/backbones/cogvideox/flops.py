"""Floating-point operations of the CogVideoX transformer."""

import math

from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.models.flops import Flops


def transformer_flops(config: CogVideoXConfig, size: tuple[int, int, int], text_length: int) -> Flops:
    """The CogVideoX transformer on one clip.

    Args:
        config: Sizes and variant.
        size: T, H and W of the latent.
        text_length: Text tokens.
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

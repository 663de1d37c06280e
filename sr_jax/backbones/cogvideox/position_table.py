"""The learned position table of CogVideoX-5B-I2V, for videos of another size than the released one.

The released table fits 49 frames of 480 x 720 and nothing else. Its values are nearly 0: those who trained the model
report that without it the videos are almost the same, as positions come from the rotary angles in any case.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.errors import UserError
from sr_jax.models.functional import Params

CHOICES = ("keep", "drop", "interpolate")


def fit_position_table(
    params: Params, config: CogVideoXConfig, size: tuple[int, int, int], how: str
) -> tuple[Params, CogVideoXConfig]:
    """Makes a transformer fit latents of another size.

    A transformer without a learned table fits any size and is returned as it is. The result is again a model of
    diffusers' kind, so that an export computes the same there: after "interpolate" the new size is that of its
    configuration. From that the rotary angles of version 1.0 count too: those of a video with more rows or columns than
    before then go beyond what the model was trained on, where after "drop" they are scaled to it.

    Args:
        params: Of the transformer.
        config: Of the transformer.
        size: T, H and W of the latents wanted.
        how: "keep" the table, which fits one size; "drop" it, for any size; or "interpolate" it linearly to the new
            frames, rows and columns, the rows of the text unchanged.

    Returns:
        Parameters and configuration.

    Raises:
        UserError: If `how` is none of these, the table is to be kept and does not fit, or `size` is no whole patches.
    """
    if how not in CHOICES:
        raise UserError(f"position_table is {how!r}: choose one of {', '.join(CHOICES)}")
    if not config.use_learned_positional_embeddings:
        return params, config
    if how == "drop":
        embed = {name: leaf for name, leaf in params["patch_embed"].items() if name != "pos_embedding"}
        return params | {"patch_embed": embed}, dataclasses.replace(config, use_learned_positional_embeddings=False)
    if size == config.sample_size:
        return params, config
    if how == "keep":
        raise UserError(
            f"the learned position table is for latents of {config.sample_size} (T, H, W), not {size}: choose "
            "position_table=drop (rotary positions alone, hardly a difference) or position_table=interpolate (rotary "
            "positions of more rows or columns are then new to the model)"
        )
    return _interpolated(params, config, size)


def _interpolated(
    params: Params, config: CogVideoXConfig, size: tuple[int, int, int]
) -> tuple[Params, CogVideoXConfig]:
    if any(n % p for n, p in zip(size, config.patch, strict=True)):
        raise UserError(f"latents of {size} (T, H, W) are not whole patches of {config.patch}: choose another size")
    table = resize_table(
        jnp.asarray(params["patch_embed"]["pos_embedding"]),
        config.max_text_seq_length,
        config.tokens(config.sample_size),
        config.tokens(size),
    )
    config = dataclasses.replace(
        config,
        sample_frames=(size[0] - 1) * config.temporal_compression_ratio + 1,
        sample_height=size[1],
        sample_width=size[2],
    )
    return params | {"patch_embed": params["patch_embed"] | {"pos_embedding": np.asarray(table)}}, config


def resize_table(
    table: Float[Array, "positions d"],
    text_length: int,
    tokens: tuple[int, int, int],
    new_tokens: tuple[int, int, int],
) -> Float[Array, "new_positions d"]:
    """Resizes the video's part of a table, of `tokens` along T, H and W, linearly to `new_tokens`; keeps its type."""
    text, video = table[:text_length], table[text_length:]
    grid = video.astype(jnp.float32).reshape(*tokens, -1)
    # Where the grid shrinks, a plain linear look-up: averaging would flatten a table that is nearly noise.
    resized = jax.image.resize(grid, (*new_tokens, grid.shape[-1]), "linear", antialias=False)
    return jnp.concatenate([text, resized.reshape(-1, grid.shape[-1]).astype(table.dtype)])

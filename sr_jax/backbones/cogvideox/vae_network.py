"""Encoder and decoder of the CogVideoX autoencoder, on a few frames at a time (Yang et al. 2024, section 2.1)."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.backbones.cogvideox.vae_layers import (
    NORM_EPSILON,
    Cache,
    CausalConv3d,
    Downsample3D,
    GroupNorm,
    ResnetBlock3D,
    SpatialNorm3D,
    Upsample3D,
    part,
)
from sr_jax.errors import UserError

TEMPORAL_COMPRESSION_RATIO = 4
"""Video frames per latent frame, after the first."""
_TEMPORAL_STAGES = int(math.log2(TEMPORAL_COMPRESSION_RATIO))
_PIXEL_CHANNELS = 3
_MIDDLE_LAYERS = 2


@dataclasses.dataclass(frozen=True)
class CogVideoXVAEConfig:
    """Sizes of the autoencoder, with diffusers' names; the defaults are the released networks'.

    Attributes:
        block_out_channels: Width of each stage of the encoder, outermost first; all but the last halve the image.
        latent_channels: Channels of the latent.
        layers_per_block: Residual blocks of an encoder stage; a decoder stage has one more.
        norm_eps: Of the norms in the encoder's residual blocks; all others have 1e-6.
        norm_num_groups: Groups of every norm.
        sample_height: Pixel rows of training; a tile has half as many.
        sample_width: Pixel columns of training; a tile has half as many.
        scaling_factor: Multiplies latents for the transformer: 1.15258426 for 2B, 0.7 for 5B, 5B-I2V and 1.5.
        invert_scale_latents: Whether the latents of a conditioning image are divided by it instead (1.5).
    """

    block_out_channels: tuple[int, ...] = (128, 256, 256, 512)
    latent_channels: int = 16
    layers_per_block: int = 3
    norm_eps: float = 1e-6
    norm_num_groups: int = 32
    sample_height: int = 480
    sample_width: int = 720
    scaling_factor: float = 1.15258426
    invert_scale_latents: bool = False

    def __post_init__(self) -> None:
        """Checks the number of stages.

        Raises:
            UserError: If there are too few: none would be left to halve the frames as often as is counted on.
        """
        if len(self.block_out_channels) <= _TEMPORAL_STAGES:
            raise UserError(
                f"the autoencoder's config has block_out_channels {self.block_out_channels}: it must have at least "
                f"{_TEMPORAL_STAGES + 1} widths: the frames are halved {_TEMPORAL_STAGES} times, never behind the last"
            )

    @property
    def spatial_compression_ratio(self) -> int:
        """Pixels along each side of a latent pixel."""
        return 2 ** (len(self.block_out_channels) - 1)


_5B = CogVideoXVAEConfig(scaling_factor=0.7)
_1_5_5B = dataclasses.replace(_5B, invert_scale_latents=True)
RELEASED = {"2b": CogVideoXVAEConfig(), "5b": _5B, "5b_i2v": _5B, "1_5_5b": _1_5_5B, "1_5_5b_i2v": _1_5_5B}
"""The released autoencoders by the name of their transformer."""


class Stage(nnx.Module):
    """Residual blocks, then resampling (diffusers: `CogVideoXDownBlock3D`, `-MidBlock3D`, `-UpBlock3D`).

    Args:
        in_features: Channels in.
        out_features: Channels out.
        num_layers: Residual blocks.
        config: Of the autoencoder.
        latent_channels: Channels of the latent that the decoder's norms read; None in the encoder.
        resampler: Changes the size after the residual blocks; None keeps it.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        num_layers: int,
        config: CogVideoXVAEConfig,
        latent_channels: int | None,
        resampler: Downsample3D | Upsample3D | None,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
    ):
        norms = (config.norm_num_groups, config.norm_eps, latent_channels)
        widths = [in_features] + [out_features] * (num_layers - 1)
        self.resnets = nnx.List(
            [ResnetBlock3D(width, out_features, *norms, rngs=rngs, dtype=dtype) for width in widths]
        )
        self.resampler = resampler

    def __call__(
        self, x: Float[Array, "b t h w c"], latents: Float[Array, "b tz hz wz z"] | None, cache: Cache
    ) -> tuple[Float[Array, "b t_out h_out w_out d"], Cache]:
        """Returns the output and the new cache; `latents` is None in the encoder."""
        x, cache = run_in_turn(self.resnets, x, latents, cache)
        return (x if self.resampler is None else self.resampler(x)), cache


def run_in_turn(
    modules: nnx.List, x: Float[Array, "b t h w c"], latents: Float[Array, "b tz hz wz z"] | None, cache: Cache
) -> tuple[Float[Array, "b t_out h_out w_out d"], list[Cache]]:
    """Runs stages, or residual blocks, one after the other; `cache` and the new cache have one entry for each."""
    caches = []
    for index, module in enumerate(modules):
        x, new = module(x, latents, part(cache, index))
        caches.append(new)
    return x, caches


class Encoder(nnx.Module):
    """From video frames to the moments of latent frames (diffusers: `CogVideoXEncoder3D`).

    Args:
        config: Sizes.
        rngs: Initialisation keys.
        dtype: Compute type; norms are float32.
    """

    def __init__(self, config: CogVideoXVAEConfig, *, rngs: nnx.Rngs, dtype: DTypeLike):
        widths = config.block_out_channels
        stages = []
        for index, (width_in, width) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            last = index == len(widths) - 1
            down = None if last else Downsample3D(width, index < _TEMPORAL_STAGES, rngs=rngs, dtype=dtype)
            stages.append(Stage(width_in, width, config.layers_per_block, config, None, down, rngs=rngs, dtype=dtype))
        self.conv_in = CausalConv3d(_PIXEL_CHANNELS, widths[0], rngs=rngs, dtype=dtype)
        self.down_blocks = nnx.List(stages)
        self.mid_block = Stage(widths[-1], widths[-1], _MIDDLE_LAYERS, config, None, None, rngs=rngs, dtype=dtype)
        self.norm_out = GroupNorm(widths[-1], config.norm_num_groups, NORM_EPSILON)
        self.conv_out = CausalConv3d(widths[-1], 2 * config.latent_channels, rngs=rngs, dtype=dtype)

    def __call__(
        self, frames: Float[Array, "b f h w c"], cache: Cache
    ) -> tuple[Float[Array, "b t y x moments"], Cache]:
        """Encodes the next frames of a video.

        Args:
            frames: Values in [-1, 1].
            cache: What the call for the frames before returned; None for the first frames.

        Returns:
            Mean and log variance of unscaled latents on channels, in the compute type, and the new cache.
        """
        new = {}
        x, new["conv_in"] = self.conv_in(frames, part(cache, "conv_in"))
        x, new["down_blocks"] = run_in_turn(self.down_blocks, x, None, part(cache, "down_blocks"))
        x, new["mid_block"] = self.mid_block(x, None, part(cache, "mid_block"))
        x, new["conv_out"] = self.conv_out(jax.nn.silu(self.norm_out(x)), part(cache, "conv_out"))
        return x, new


class Decoder(nnx.Module):
    """From latent frames to video frames (diffusers: `CogVideoXDecoder3D`).

    Args:
        config: Sizes.
        rngs: Initialisation keys.
        dtype: Compute type; norms are float32.
    """

    def __init__(self, config: CogVideoXVAEConfig, *, rngs: nnx.Rngs, dtype: DTypeLike):
        widths, latent = config.block_out_channels[::-1], config.latent_channels
        layers = config.layers_per_block + 1
        stages = []
        for index, (width_in, width) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            last = index == len(widths) - 1
            up = None if last else Upsample3D(width, index < _TEMPORAL_STAGES, rngs=rngs, dtype=dtype)
            stages.append(Stage(width_in, width, layers, config, latent, up, rngs=rngs, dtype=dtype))
        self.conv_in = CausalConv3d(latent, widths[0], rngs=rngs, dtype=dtype)
        self.mid_block = Stage(widths[0], widths[0], _MIDDLE_LAYERS, config, latent, None, rngs=rngs, dtype=dtype)
        self.up_blocks = nnx.List(stages)
        self.norm_out = SpatialNorm3D(widths[-1], latent, config.norm_num_groups, rngs=rngs, dtype=dtype)
        self.conv_out = CausalConv3d(widths[-1], _PIXEL_CHANNELS, rngs=rngs, dtype=dtype)

    def __call__(self, latents: Float[Array, "b t y x z"], cache: Cache) -> tuple[Float[Array, "b f h w c"], Cache]:
        """Decodes the next latent frames of a video.

        Args:
            latents: Unscaled latents.
            cache: What the call for the latents before returned; None for the first ones.

        Returns:
            Video frames, about in [-1, 1], in the compute type, and the new cache.
        """
        new = {}
        x, new["conv_in"] = self.conv_in(latents, part(cache, "conv_in"))
        x, new["mid_block"] = self.mid_block(x, latents, part(cache, "mid_block"))
        x, new["up_blocks"] = run_in_turn(self.up_blocks, x, latents, part(cache, "up_blocks"))
        x, new["conv_out"] = self.conv_out(jax.nn.silu(self.norm_out(x, latents)), part(cache, "conv_out"))
        return x, new


class Autoencoder(nnx.Module):
    """Encoder and decoder, with the parameter names of diffusers' `AutoencoderKLCogVideoX`.

    Args:
        config: Sizes.
        rngs: Initialisation keys.
        dtype: Compute type; parameters and norms are float32.
    """

    def __init__(self, config: CogVideoXVAEConfig, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        self.encoder = Encoder(config, rngs=rngs, dtype=dtype)
        self.decoder = Decoder(config, rngs=rngs, dtype=dtype)

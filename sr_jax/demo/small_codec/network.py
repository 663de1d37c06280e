"""The networks of the small video codec: a linear codec, and what residual convolutions add to it in both directions.

All work is done at the latents' size, where a convolution is a few large matrix products: of a network that starts at
the pixels' size, as CogVideoX's autoencoder does, a CPU would spend most of its time on the outermost layers. The
linear part starts as a fitted `LinearVideoCodec` and the rest at 0: training only has to find what is not linear.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sr_jax.demo.linear_codec import from_patches, repeat_border, to_patches
from sr_jax.models.convolution import square_conv
from sr_jax.models.functional import Functional
from sr_jax.models.layers import layer_norm, linear

_EPSILON = 1e-5


@dataclass(frozen=True)
class SmallCodecConfig:
    """Sizes of a small codec.

    Attributes:
        latent_channels: Channels of a latent pixel.
        temporal_compression_ratio: Video frames in a latent frame, except the first.
        spatial_compression_ratio: Pixels along each side of a latent pixel.
        width: Channels inside both networks.
        encoder_blocks: Residual blocks of the encoder.
        decoder_blocks: Residual blocks of the decoder.
    """

    latent_channels: int
    temporal_compression_ratio: int
    spatial_compression_ratio: int
    width: int
    encoder_blocks: int
    decoder_blocks: int

    @property
    def patch_values(self) -> int:
        """Numbers of the patch of a video that one latent pixel stands for."""
        return self.temporal_compression_ratio * self.spatial_compression_ratio**2 * 3

    @property
    def ratios(self) -> tuple[int, int]:
        """Of time and of space."""
        return self.temporal_compression_ratio, self.spatial_compression_ratio


class Encoder(nnx.Module):
    """From a video in [-1, 1] to latents of any mean and scale."""

    def __init__(self, config: SmallCodecConfig, *, rngs: nnx.Rngs):
        self.config = config
        values, channels = config.patch_values, config.latent_channels
        self.linear = linear(values, channels, ("patch", "conv_in"), rngs=rngs, dtype=jnp.float32)
        self.blocks = _Blocks(values, channels, config.width, config.encoder_blocks, rngs=rngs)

    def __call__(self, video: Float[Array, "b f h w 3"]) -> Float[Array, "b t y x c"]:
        """Encodes a video; see `to_patches` for the sizes that fit."""
        patches = to_patches(video, *self.config.ratios)
        return self.linear(patches) + self.blocks(patches)


class Decoder(nnx.Module):
    """From latents to a video about in [-1, 1]."""

    def __init__(self, config: SmallCodecConfig, *, rngs: nnx.Rngs):
        self.config = config
        values, channels = config.patch_values, config.latent_channels
        # Of repeated borders, as `LinearVideoCodec` decodes.
        self.linear = square_conv(channels, values, 3, padding="VALID", rngs=rngs)
        self.blocks = _Blocks(channels, values, config.width, config.decoder_blocks, rngs=rngs)

    def __call__(self, latents: Float[Array, "b t y x c"]) -> Float[Array, "b f h w 3"]:
        """Decodes latents."""
        frames = latents.reshape(-1, *latents.shape[2:])
        patches = self.linear(repeat_border(frames)).reshape(*latents.shape[:-1], -1)
        return from_patches(patches + self.blocks(latents), *self.config.ratios)


def encoder_network(config: SmallCodecConfig) -> Functional:
    """The encoder of a codec of this size."""
    return Functional(lambda rngs: Encoder(config, rngs=rngs))


def decoder_network(config: SmallCodecConfig) -> Functional:
    """The decoder of a codec of this size."""
    return Functional(lambda rngs: Decoder(config, rngs=rngs))


class Both(nnx.Module):
    """Encoder and decoder, as they are stored together."""

    def __init__(self, config: SmallCodecConfig, *, rngs: nnx.Rngs):
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)


def codec_network(config: SmallCodecConfig) -> Functional:
    """Whose parameters are those of both: `encoder` and `decoder`."""
    return Functional(lambda rngs: Both(config, rngs=rngs))


class _Blocks(nnx.Module):
    """A linear map into `width` channels, residual blocks, and a linear map out of it that starts at 0."""

    def __init__(self, in_features: int, out_features: int, width: int, blocks: int, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        self.first = linear(in_features, width, ("patch", "conv_in"), rngs=rngs, dtype=jnp.float32)
        self.blocks = nnx.List([_Block(width, rngs=rngs) for _ in range(blocks)])
        self.last = linear(width, out_features, ("conv_in", "patch"), rngs=rngs, dtype=jnp.float32, kernel_init=zeros)

    def __call__(self, x: Float[Array, "b t y x c"]) -> Float[Array, "b t y x d"]:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class _Block(nnx.Module):
    """Norm over channels, SiLU, a 3x3 convolution and a look at the frame before, SiLU, a linear map.

    Causal: a latent frame depends on earlier ones only, and the first on nothing but itself, so that an image is
    encoded as the first frame of a video is.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.norm = layer_norm(width, _EPSILON, rngs=rngs)
        self.conv = square_conv(width, width, 3, rngs=rngs)
        self.before = linear(width, width, ("conv_in", "conv_out"), rngs=rngs, dtype=jnp.float32)
        # Starts as the identity.
        zeros = nnx.initializers.zeros_init()
        self.out = linear(width, width, ("conv_in", "conv_out"), rngs=rngs, dtype=jnp.float32, kernel_init=zeros)

    def __call__(self, x: Float[Array, "b t y x c"]) -> Float[Array, "b t y x c"]:
        hidden = jax.nn.silu(self.norm(x))
        before = jnp.concatenate([hidden[:, :1], hidden[:, :-1]], axis=1)
        mixed = self.conv(hidden.reshape(-1, *hidden.shape[2:])).reshape(hidden.shape) + self.before(before)
        return x + self.out(jax.nn.silu(mixed))

"""A small residual network from images (or single latent frames) to embeddings."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.errors import UserError
from sr_jax.models.convolution import square_conv

_GROUPS = 8


def group_norm(width: int, *, rngs: nnx.Rngs) -> nnx.GroupNorm:
    """GroupNorm of 8 groups, always computed and returned in float32.

    Raises:
        UserError: If `width` is not a multiple of 8.
    """
    if width % _GROUPS:
        raise UserError(f"widths of a residual network must be multiples of {_GROUPS}, not {width}")
    metadata = {"logical_axes": ("norm",)}
    return nnx.GroupNorm(width, _GROUPS, dtype=jnp.float32, scale_metadata=metadata, bias_metadata=metadata, rngs=rngs)


def average_pool_to(x: Float[Array, "n h w c"], size: tuple[int, int]) -> Float[Array, "n y x c"]:
    """Averages an image over a grid of `size` cells that cover it, as torch.nn.AdaptiveAvgPool2d does."""
    rows, columns = (_cells(of, into) for of, into in zip(x.shape[1:3], size, strict=True))
    means = [jnp.stack([x[:, row, column].mean(axis=(1, 2)) for column in columns], axis=1) for row in rows]
    return jnp.stack(means, axis=1)


def _cells(of: int, into: int) -> list[slice]:
    """`into` ranges that cover `of` pixels; neighbours share a pixel that lies in both."""
    return [slice(index * of // into, -(-(index + 1) * of // into)) for index in range(into)]


class ResidualBlock(nnx.Module):
    """Pre-activation block: twice GroupNorm, SiLU, 3x3 convolution, beside a shortcut.

    The second convolution is zero-initialised, so that a new block passes its input on unchanged (or, where size or
    width changes, projected).

    Args:
        in_features: Channels in.
        out_features: Channels out.
        stride: 2 halves the image.
        rngs: Initialisation keys.
        dtype: Compute type of the convolutions.
    """

    def __init__(self, in_features: int, out_features: int, stride: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.dtype = dtype
        self.norm_1 = group_norm(in_features, rngs=rngs)
        options = {"padding": "SAME", "rngs": rngs, "dtype": dtype}
        self.conv_1 = square_conv(in_features, out_features, 3, stride=stride, **options)
        self.norm_2 = group_norm(out_features, rngs=rngs)
        self.conv_2 = square_conv(out_features, out_features, 3, kernel_init=nnx.initializers.zeros_init(), **options)
        self.projects = stride != 1 or in_features != out_features
        if self.projects:
            self.shortcut = square_conv(in_features, out_features, 1, stride=stride, **options)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h_out w_out c_out"]:
        """Applies the block."""
        residual = self.conv_1(jax.nn.silu(self.norm_1(x)).astype(self.dtype))
        residual = self.conv_2(jax.nn.silu(self.norm_2(residual)).astype(self.dtype))
        return residual + (self.shortcut(x) if self.projects else x)


class ResNet(nnx.Module):
    """Stem, stages of residual blocks that halve the image after the first, average pool to a grid, linear.

    Args:
        in_channels: Channels in.
        widths: Channels of each stage; multiples of 8.
        blocks_per_stage: Residual blocks of each stage.
        embedding_dim: Width of the embedding.
        pooled_size: Rows and columns of the grid; 1x1 is global average pooling.
        rngs: Initialisation keys.
        dtype: Compute type; norms and the pooled features are float32.
    """

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        blocks_per_stage: int,
        embedding_dim: int,
        pooled_size: tuple[int, int] = (1, 1),
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.dtype = dtype
        self.pooled_size = pooled_size
        self.stem = square_conv(in_channels, widths[0], 3, rngs=rngs, dtype=dtype)
        blocks, width_in = [], widths[0]
        for stage, width in enumerate(widths):
            for index in range(blocks_per_stage):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(ResidualBlock(width_in, width, stride, rngs=rngs, dtype=dtype))
                width_in = width
        self.blocks = nnx.List(blocks)
        self.norm = group_norm(width_in, rngs=rngs)
        self.head = nnx.Linear(
            width_in * math.prod(pooled_size),
            embedding_dim,
            kernel_metadata={"logical_axes": ("conv_in", "embedding")},
            bias_metadata={"logical_axes": ("embedding",)},
            rngs=rngs,
        )

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n e"]:
        """Embeds each image; the embedding is float32 and not normalised."""
        x = self.stem(images.astype(self.dtype))
        for block in self.blocks:
            x = block(x)
        pooled = average_pool_to(jax.nn.silu(self.norm(x)), self.pooled_size)
        return self.head(pooled.reshape(len(pooled), -1))

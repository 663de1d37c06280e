"""Layers of the CogVideoX autoencoder: causal convolutions with a cache, two norms, residual blocks, resampling.

A clip is processed a few frames at a time. What a causal convolution must remember of the frames before is its cache:
its last two input frames. Caches are returned beside outputs, in nested dicts and lists in the order of the modules;
None in place of a cache means that nothing came before.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.models import video_convolution
from sr_jax.models.convolution import conv
from sr_jax.parallel import activations

Cache = Any
"""A nest of `[B, 2, H, W, C]` arrays, one for each causal convolution, or None before the first frame."""

# Fixed in the norms of the decoder and in the encoder's last one, whatever the config says.
NORM_EPSILON = 1e-6


def part(cache: Cache, name: str | int) -> Cache:
    """The cache of one of a module's parts."""
    return None if cache is None else cache[name]


def pointwise_conv(in_features: int, out_features: int, *, rngs: nnx.Rngs, dtype: DTypeLike) -> nnx.Conv:
    """A 1x1x1 convolution."""
    return conv(in_features, out_features, (1, 1, 1), rngs=rngs, dtype=dtype, padding=0)


class GroupNorm(nnx.Module):
    """GroupNorm over frames, rows and columns, always computed and returned in float32.

    Each channel is summed first, and then those of a group: activations keep their layout. With channels split into
    groups of 4 to 16, the innermost axis would be that short (2.5 times slower on a CPU).

    Args:
        width: Channels.
        groups: Groups of channels.
        epsilon: Added to the variance.
    """

    def __init__(self, width: int, groups: int, epsilon: float):
        self.groups, self.epsilon = groups, epsilon
        self.scale = nnx.Param(jnp.ones(width), logical_axes=("norm",))
        self.bias = nnx.Param(jnp.zeros(width), logical_axes=("norm",))

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        """Normalises every group of channels of a clip, then scales and shifts every channel."""
        # From the differences, not from the squares: those are large numbers where a group's mean is far from 0.
        x = x.astype(jnp.float32)
        x = x - self._of_groups(x)
        return x * (jax.lax.rsqrt(self._of_groups(x**2) + self.epsilon) * self.scale[...]) + self.bias[...]

    def _of_groups(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b 1 1 1 c"]:
        channels = x.mean(axis=(1, 2, 3))
        means = channels.reshape(len(x), self.groups, -1).mean(axis=-1)
        return jnp.repeat(means, x.shape[-1] // self.groups, axis=-1)[:, None, None, None]


class CausalConv3d(nnx.Module):
    """A 3x3x3 convolution that sees no later frame (diffusers: `CogVideoXCausalConv3d`).

    Rows and columns are padded with zeros; in place of frames before the first one, the first one is repeated.

    Args:
        in_features: Channels in.
        out_features: Channels out.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.dtype = dtype
        self.conv = conv(in_features, out_features, (3, 3, 3), rngs=rngs, dtype=dtype, padding=((0, 0), (1, 1), (1, 1)))

    def __call__(self, x: Float[Array, "b t h w c"], cache: Cache) -> tuple[Float[Array, "b t h w d"], Cache]:
        """Returns the output and the last two input frames."""
        x = x.astype(self.dtype)
        kernel, bias = (param[...].astype(self.dtype) for param in (self.conv.kernel, self.conv.bias))
        forms = video_convolution.choose(activations.platform(), x.dtype, *x.shape[2:4])
        last = x[:, -video_convolution.PAST :]
        if x.shape[1] < video_convolution.PAST:
            last = jnp.concatenate([last if cache is None else cache[:, 1:], last], axis=1)
        return video_convolution.causal(x, cache, kernel, forms) + bias, last


class SpatialNorm3D(nnx.Module):
    """GroupNorm whose scale and shift are read from the latent (diffusers: `CogVideoXSpatialNorm3D`).

    The 1x1x1 convolutions act on the latent before it is enlarged, not after: the numbers are the same, the work is
    less by the compression of the autoencoder.

    Args:
        width: Channels of the normalised activations.
        latent_channels: Channels of the latent.
        groups: Groups of channels.
        rngs: Initialisation keys.
        dtype: Compute type of the convolutions.
    """

    def __init__(self, width: int, latent_channels: int, groups: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.norm_layer = GroupNorm(width, groups, NORM_EPSILON)
        self.conv_y = pointwise_conv(latent_channels, width, rngs=rngs, dtype=dtype)
        self.conv_b = pointwise_conv(latent_channels, width, rngs=rngs, dtype=dtype)

    def __call__(
        self, x: Float[Array, "b t h w c"], latents: Float[Array, "b tz hz wz z"]
    ) -> Float[Array, "b t h w c"]:
        """Normalises `x`, whose size is a multiple of that of the latents."""
        size = x.shape[1:4]
        scale, shift = (enlarge(layer(latents), size) for layer in (self.conv_y, self.conv_b))
        return self.norm_layer(x) * scale + shift


class ResnetBlock3D(nnx.Module):
    """Twice norm, SiLU, causal convolution, beside a shortcut (diffusers: `CogVideoXResnetBlock3D`).

    Args:
        in_features: Channels in.
        out_features: Channels out.
        groups: Groups of the norms.
        epsilon: Of the encoder's norms.
        latent_channels: Channels of the latent that the decoder's norms read; None in the encoder.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        groups: int,
        epsilon: float,
        latent_channels: int | None,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
    ):
        def norm(width: int) -> nnx.Module:
            if latent_channels is None:
                return GroupNorm(width, groups, epsilon)
            return SpatialNorm3D(width, latent_channels, groups, rngs=rngs, dtype=dtype)

        self.norm1 = norm(in_features)
        self.conv1 = CausalConv3d(in_features, out_features, rngs=rngs, dtype=dtype)
        self.norm2 = norm(out_features)
        self.conv2 = CausalConv3d(out_features, out_features, rngs=rngs, dtype=dtype)
        self.projects = in_features != out_features
        if self.projects:
            self.conv_shortcut = pointwise_conv(in_features, out_features, rngs=rngs, dtype=dtype)

    def __call__(
        self, x: Float[Array, "b t h w c"], latents: Float[Array, "b tz hz wz z"] | None, cache: Cache
    ) -> tuple[Float[Array, "b t h w d"], Cache]:
        """Returns the output and the new cache; `latents` is None in the encoder."""
        condition = () if latents is None else (latents,)
        hidden = jax.nn.silu(self.norm1(x, *condition))
        hidden, cache1 = self.conv1(hidden, part(cache, "conv1"))
        hidden = jax.nn.silu(self.norm2(hidden, *condition))
        hidden, cache2 = self.conv2(hidden, part(cache, "conv2"))
        shortcut = self.conv_shortcut(x) if self.projects else x
        return hidden + shortcut, {"conv1": cache1, "conv2": cache2}


class Downsample3D(nnx.Module):
    """Halves rows and columns and, where asked, frames (diffusers: `CogVideoXDownsample3D`).

    Frames are averaged in pairs; the first of an odd number stays alone.

    Args:
        width: Channels.
        compress_time: Whether to halve the frames.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, width: int, compress_time: bool, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.compress_time = compress_time
        self.conv = conv(width, width, (3, 3), rngs=rngs, dtype=dtype, padding=((0, 1), (0, 1)), stride=2)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t_out h_out w_out c"]:
        """Returns the smaller activations; an odd last row or column is dropped."""
        return self.conv(halve_frames(x) if self.compress_time else x)


class Upsample3D(nnx.Module):
    """Doubles rows and columns and, where asked, frames, then smooths (diffusers: `CogVideoXUpsample3D`).

    The first of an odd number of frames is not doubled.

    Args:
        width: Channels.
        compress_time: Whether to double the frames.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, width: int, compress_time: bool, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.compress_time = compress_time
        self.dtype = dtype
        self.conv = conv(width, width, (3, 3), rngs=rngs, dtype=dtype, padding=1)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t_out h_out w_out c"]:
        """Returns the larger activations."""
        t, h, w = x.shape[1:4]
        size = (2 * t - t % 2 if self.compress_time else t, 2 * h, 2 * w)
        convolve_enlarged = video_convolution.choose(activations.platform(), self.dtype, h, w).enlarged
        if convolve_enlarged is None:
            # In this order a TPU needs the least memory: 19.1 GiB in place of 20.1 for 3 latent frames of 480x720.
            return self.conv(enlarge(x, size))
        kernel, bias = (param[...].astype(self.dtype) for param in (self.conv.kernel, self.conv.bias))
        # Frames are repeated after the convolution, which is of each frame alone: half the work.
        return enlarge(convolve_enlarged(x.astype(self.dtype), kernel) + bias, size)


def halve_frames(x: Float[Array, "b t h w c"]) -> Float[Array, "b t_out h w c"]:
    """Averages frames in pairs; the first of an odd number stays alone."""
    b, t, *size = x.shape
    first, rest = x[:, : t % 2], x[:, t % 2 :]
    return jnp.concatenate([first, rest.reshape(b, t // 2, 2, *size).mean(axis=2)], axis=1)


def enlarge(x: Float[Array, "b t h w c"], size: tuple[int, int, int]) -> Float[Array, "b t_out h_out w_out c"]:
    """Repeats frames, rows and columns to T, H and W of `size`, multiples of those of `x`.

    Of an odd number of frames the first is not repeated: it stands for one video frame, all others for several.
    """
    t, h, w = x.shape[1:4]
    alone = t % 2
    times = (size[0] - alone) // (t - alone) if t > alone else 1
    for axis, repeats in ((1, times), (2, size[1] // h), (3, size[2] // w)):
        x = jnp.repeat(x, repeats, axis=axis)
    # Repeated too and cut, not put in front of the others: the compiler stores what is concatenated, in full size.
    return x[:, alone * (times - 1) :]

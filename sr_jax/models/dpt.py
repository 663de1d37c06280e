"""Layers of the dense prediction transformer's head (Ranftl et al. 2021, arXiv 2103.13413), as Depth Anything has them.

No norms. Resizing is bilinear with aligned corners.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.models.convolution import square_conv


class Upscale(nnx.Module):
    """A transposed convolution whose stride is its kernel: every pixel becomes a square of pixels.

    Args:
        width: Channels in and out.
        factor: Side of the square.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, width: int, factor: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.dtype = dtype
        values = nnx.initializers.normal(width**-0.5)(rngs.params(), (factor, factor, width, width))
        self.kernel = nnx.Param(values, logical_axes=("kernel", "kernel", "conv_out", "conv_in"))
        self.bias = nnx.Param(jnp.zeros(width), logical_axes=("conv_out",))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n y x c"]:
        """Enlarges by the factor along both axes."""
        n, h, w, c = x.shape
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        squares = jnp.einsum("nhwi,yxoi->nhywxo", x, kernel)
        return squares.reshape(n, h * kernel.shape[0], w * kernel.shape[1], c) + bias


class ResidualConvUnit(nnx.Module):
    """Twice ReLU and 3x3 convolution, beside a shortcut.

    Args:
        width: Channels.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.conv1 = square_conv(width, width, 3, rngs=rngs, dtype=dtype)
        self.conv2 = square_conv(width, width, 3, rngs=rngs, dtype=dtype)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Applies the unit."""
        return x + self.conv2(jax.nn.relu(self.conv1(jax.nn.relu(x))))


class FeatureFusionBlock(nnx.Module):
    """Adds features of a finer level, refines, resizes, and mixes the channels.

    Args:
        width: Channels.
        has_skip: Whether features are added; the coarsest block has none.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, width: int, *, has_skip: bool, rngs: nnx.Rngs, dtype: DTypeLike):
        self.has_skip = has_skip
        if has_skip:
            self.resConfUnit1 = ResidualConvUnit(width, rngs=rngs, dtype=dtype)
        self.resConfUnit2 = ResidualConvUnit(width, rngs=rngs, dtype=dtype)
        self.out_conv = square_conv(width, width, 1, rngs=rngs, dtype=dtype)

    def __call__(
        self, x: Float[Array, "n h w c"], size: tuple[int, int], skip: Float[Array, "n h w c"] | None = None
    ) -> Float[Array, "n y x c"]:
        """Returns an image of `size` (height, width); `skip` are the features to add."""
        if self.has_skip:
            x = x + self.resConfUnit1(skip)
        return self.out_conv(resize(self.resConfUnit2(x), size))


def resize(x: Float[Array, "n h w c"], size: tuple[int, int]) -> Float[Array, "n y x c"]:
    """Bilinear interpolation to `size` (height, width); the corners' pixels stay the corners' pixels."""
    for axis, length in enumerate(size, 1):
        x = _resize_axis(x, axis, length)
    return x


def _resize_axis(x: Array, axis: int, length: int) -> Array:
    if x.shape[axis] == length:
        return x
    places = np.linspace(0, x.shape[axis] - 1, length) if length > 1 else np.zeros(1)
    low = np.minimum(places.astype(int), max(x.shape[axis] - 2, 0))
    high = np.minimum(low + 1, x.shape[axis] - 1)
    weights = jnp.asarray(places - low, x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
    return jnp.take(x, low, axis=axis) * (1 - weights) + jnp.take(x, high, axis=axis) * weights

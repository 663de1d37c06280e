"""The network of the judge of body parts: from frames to the part at every pixel."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sr_jax.models.convolution import square_conv
from sr_jax.models.functional import Functional

STRIDE = 4
"""Sides of the frames that the network reads are multiples of it."""
_DILATIONS = (1, 2, 4)


@dataclass(frozen=True)
class BodyPartConfig:
    """Size of a network.

    Attributes:
        width: Channels at a quarter of the frame's sides; half as many at half of them.
        blocks: Residual blocks at a quarter of the sides.
        parts: Names of the parts; a part's number is its place, from 1.
    """

    width: int
    blocks: int
    parts: tuple[str, ...]


class BodyPartNetwork(nnx.Module):
    """Two strided convolutions, dilated residual blocks at a quarter of the sides, and back, with one shortcut.

    A body is seen whole at a quarter of its sides, which tells left from right; what was kept at half of them draws the
    outlines (Ronneberger et al. 2015).
    """

    def __init__(self, config: BodyPartConfig, *, rngs: nnx.Rngs):
        width, half, classes = config.width, config.width // 2, len(config.parts) + 1
        self.stem = square_conv(3, half, 4, stride=2, padding=1, rngs=rngs)
        self.down = square_conv(half, width, 4, stride=2, padding=1, rngs=rngs)
        dilations = [_DILATIONS[i % len(_DILATIONS)] for i in range(config.blocks)]
        self.blocks = nnx.List([_Block(width, dilation, rngs=rngs) for dilation in dilations])
        self.up = square_conv(width, 4 * half, 1, rngs=rngs)
        self.outline = square_conv(half, half, 3, rngs=rngs)
        self.head = square_conv(half, 4 * classes, 3, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n h w k"]:
        """Logits of no part, and of each part, at every pixel.

        Args:
            images: Values in [-1, 1]; both sides multiples of `STRIDE`.
        """
        fine = nnx.silu(self.stem(images))
        x = self.down(fine)
        for block in self.blocks:
            x = block(x)
        fine = fine + _finer(self.up(nnx.silu(x)))
        fine = fine + self.outline(nnx.silu(fine))
        return _finer(self.head(nnx.silu(fine)))


class _Block(nnx.Module):
    def __init__(self, width: int, dilation: int, *, rngs: nnx.Rngs):
        axes = {"kernel_metadata": {"logical_axes": ("kernel", "kernel", "conv_in", "conv_out")}}
        axes |= {"bias_metadata": {"logical_axes": ("conv_out",)}}
        self.first = nnx.Conv(width, width, (3, 3), kernel_dilation=dilation, **axes, rngs=rngs)
        # Starts as the identity: without norms, that keeps the first steps stable.
        self.second = square_conv(width, width, 1, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)

    def __call__(self, x: Float[Array, "n y x c"]) -> Float[Array, "n y x c"]:
        return x + self.second(nnx.silu(self.first(nnx.silu(x))))


def _finer(x: Float[Array, "n y x c"]) -> Float[Array, "n 2*y 2*x c/4"]:
    """Channels spread over twice as many rows and columns."""
    n, rows, columns, channels = x.shape
    x = x.reshape(n, rows, columns, 2, 2, channels // 4)
    return jnp.transpose(x, (0, 1, 3, 2, 4, 5)).reshape(n, 2 * rows, 2 * columns, channels // 4)


def body_part_network(config: BodyPartConfig) -> Functional:
    """The network of a judge: `[N, H, W, 3]` in [-1, 1] to logits `[N, H, W, K + 1]`."""
    return Functional(lambda rngs: BodyPartNetwork(config, rngs=rngs))


def most_likely(logits: Float[Array, "n h w k"]) -> Array:
    """The number of the most likely part at every pixel, uint8."""
    return jnp.argmax(logits, axis=-1).astype(jnp.uint8)


def cross_entropy(logits: Float[Array, "n h w k"], maps: Array, weights: Float[Array, " k"]) -> Float[Array, ""]:
    """Mean over pixels of the cross entropy, each weighted by the part that it shows.

    Args:
        logits: Of the network.
        maps: Numbers of the true parts, `[N, H, W]`.
        weights: Of no part, and of each part.
    """
    likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), maps[..., None].astype(jnp.int32), axis=-1)[..., 0]
    counts = weights[maps]
    return -jnp.sum(counts * likelihood) / jnp.sum(counts)

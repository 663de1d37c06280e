"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) as a source of features.

Inverted residuals: a 1x1 convolution widens, a 3x3 convolution sees every channel alone, another 1x1 narrows without an
activation. Batch norms, which are fixed once it is trained, are part of the convolutions before them. The weights are
always loaded, so fresh ones are of a plain scale.

Reference class: `MobileNetV2` (torchvision).
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sr_jax.models.convolution import conv


@dataclasses.dataclass(frozen=True)
class MobileNetV2Config:
    """Sizes of the network; the defaults are the released ones of width 1.

    Attributes:
        stem: Channels behind the first convolution.
        stages: Of each stage the factor by which blocks widen, channels, blocks, and the first block's stride.
        features: Channels behind the last convolution.
    """

    stem: int = 32
    stages: tuple[tuple[int, int, int, int], ...] = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    features: int = 1280

    def blocks(self) -> list[tuple[int, int, int, int]]:
        """Channels in, channels inside, channels out and stride of every block."""
        result, width = [], self.stem
        for factor, channels, count, stride in self.stages:
            for number in range(count):
                result.append((width, factor * width, channels, 1 if number else stride))
                width = channels
        return result


class InvertedResidual(nnx.Module):
    """Widens, looks around within each channel, narrows; adds its input where that has the same shape.

    Args:
        width: Channels in.
        inner: Channels inside; the first convolution is left out where they are as many.
        channels: Channels out.
        stride: Of the convolution inside.
        rngs: Initialisation keys.
    """

    def __init__(self, width: int, inner: int, channels: int, stride: int, *, rngs: nnx.Rngs):
        self.widen = conv(width, inner, (1, 1), padding=0, rngs=rngs) if inner != width else None
        self.depthwise = conv(inner, inner, (3, 3), padding=1, stride=stride, groups=inner, rngs=rngs)
        self.narrow = conv(inner, channels, (1, 1), padding=0, rngs=rngs)
        self.adds = stride == 1 and width == channels

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n y x d"]:
        """Applies the block."""
        inner = x if self.widen is None else jax.nn.relu6(self.widen(x))
        narrowed = self.narrow(jax.nn.relu6(self.depthwise(inner)))
        return x + narrowed if self.adds else narrowed


class MobileNetV2(nnx.Module):
    """The last features of images, a 32nd of their height and width.

    Args:
        config: Sizes.
        rngs: Initialisation keys.
    """

    def __init__(self, config: MobileNetV2Config, *, rngs: nnx.Rngs):
        blocks = config.blocks()
        self.stem = conv(3, config.stem, (3, 3), padding=1, stride=2, rngs=rngs)
        self.blocks = nnx.List([InvertedResidual(*block, rngs=rngs) for block in blocks])
        self.head = conv(blocks[-1][2], config.features, (1, 1), padding=0, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n y x d"]:
        """Features in [0, 6] of normalised RGB images, float32."""
        x = jax.nn.relu6(self.stem(images.astype(jnp.float32)))
        for block in self.blocks:
            x = block(x)
        return jax.nn.relu6(self.head(x))

"""I3D (Carreira and Zisserman 2017, arXiv 1705.07750): GoogLeNet with its kernels inflated over time.

Every convolution but the last is followed by a batch norm without scale, which is part of the convolution here as it is
fixed, and a ReLU. The weights are always loaded, so fresh ones are of a plain scale.

Reference classes: `InceptionI3d`, `Unit3D` (deepmind/kinetics-i3d).
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sr_jax.models.convolution import conv

Widths = tuple[int, int, int, int, int, int]
"""Of an inception block: behind its first branch, of the second and third before and behind their 3x3x3, the fourth."""


@dataclasses.dataclass(frozen=True)
class I3DConfig:
    """Sizes of the network; the defaults are the released ones.

    Attributes:
        stem: Channels behind the three first convolutions.
        stages: The blocks of each stage; a maximum pool lies before each.
        head: Frames, rows and columns that are averaged before the last layer.
        classes: What is told apart, the numbers that come out.
    """

    stem: tuple[int, int, int] = (64, 64, 192)
    stages: tuple[tuple[Widths, ...], ...] = (
        ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
        (
            (192, 96, 208, 16, 48, 64),
            (160, 112, 224, 24, 64, 64),
            (128, 128, 256, 24, 64, 64),
            (112, 144, 288, 32, 64, 64),
            (256, 160, 320, 32, 128, 128),
        ),
        ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
    )
    head: tuple[int, int, int] = (2, 7, 7)
    classes: int = 400


# Windows and strides of the pools before the stages.
_POOLS = (((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)))


class InceptionBlock(nnx.Module):
    """Four branches side by side, joined over channels.

    Args:
        width: Channels in.
        widths: See `Widths`.
        rngs: Initialisation keys.
    """

    def __init__(self, width: int, widths: Widths, *, rngs: nnx.Rngs):
        point, before_a, behind_a, before_b, behind_b, pooled = widths
        self.point = _unit(width, point, 1, rngs=rngs)
        self.before_a = _unit(width, before_a, 1, rngs=rngs)
        self.behind_a = _unit(before_a, behind_a, 3, rngs=rngs)
        self.before_b = _unit(width, before_b, 1, rngs=rngs)
        self.behind_b = _unit(before_b, behind_b, 3, rngs=rngs)
        self.pooled = _unit(width, pooled, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
        """Applies the block."""
        branches = [
            jax.nn.relu(self.point(x)),
            jax.nn.relu(self.behind_a(jax.nn.relu(self.before_a(x)))),
            jax.nn.relu(self.behind_b(jax.nn.relu(self.before_b(x)))),
            jax.nn.relu(self.pooled(_max_pool(x, (3, 3, 3), (1, 1, 1)))),
        ]
        return jnp.concatenate(branches, axis=-1)


class I3D(nnx.Module):
    """Logits of what is done in clips.

    Args:
        config: Sizes.
        rngs: Initialisation keys.
    """

    def __init__(self, config: I3DConfig, *, rngs: nnx.Rngs):
        first, second, width = config.stem
        self.stem_1 = _unit(3, first, 7, stride=2, rngs=rngs)
        self.stem_2 = _unit(first, second, 1, rngs=rngs)
        self.stem_3 = _unit(second, width, 3, rngs=rngs)
        stages = []
        for blocks in config.stages:
            stage = []
            for widths in blocks:
                stage.append(InceptionBlock(width, widths, rngs=rngs))
                width = widths[0] + widths[2] + widths[4] + widths[5]
            stages.append(nnx.List(stage))
        self.stages = nnx.List(stages)
        self.logits = _unit(width, config.classes, 1, rngs=rngs)
        self.head = config.head

    def __call__(self, clips: Float[Array, "b t h w 3"]) -> Float[Array, "b k"]:
        """Logits of RGB clips in [-1, 1], the mean over what is left of time; 9 frames of 224x224 at least."""
        x = jax.nn.relu(self.stem_1(clips.astype(jnp.float32)))
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        x = jax.nn.relu(self.stem_3(jax.nn.relu(self.stem_2(x))))
        for (window, stride), stage in zip(_POOLS, self.stages, strict=True):
            x = _max_pool(x, window, stride)
            for block in stage:
                x = block(x)
        x = nnx.avg_pool(x, self.head, (1, 1, 1), padding="VALID")
        return self.logits(x).mean(axis=(1, 2, 3))


def _unit(width_in: int, width: int, side: int, *, stride: int = 1, rngs: nnx.Rngs) -> nnx.Conv:
    return conv(width_in, width, (side, side, side), padding="SAME", stride=stride, rngs=rngs)


def _max_pool(
    x: Float[Array, "b t h w c"], window: tuple[int, int, int], stride: tuple[int, int, int]
) -> Float[Array, "b f y x c"]:
    return nnx.max_pool(x, window, stride, padding="SAME")

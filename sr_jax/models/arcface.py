"""iResNet, the residual network of the published ArcFace recognisers (reference: insightface's `IResNet`).

As for inference: batch norms have become a scale and a shift per channel, or part of the convolution before them. A
norm that comes before a convolution stays: behind it the convolution pads with zeros, which a shift cannot pass.

Source: Deng et al. 2019, ArcFace (arXiv 1801.07698), section 3.1 and its improved residual unit.
"""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sr_jax.models.convolution import square_conv

NUM_STAGES = 4
"""Every one halves the image."""


@dataclasses.dataclass(frozen=True)
class IResNetConfig:
    """Sizes of the network; the defaults are those of r50 but for its depth.

    Attributes:
        blocks: Residual blocks of each stage.
        widths: Channels of each stage; the stem has those of the first.
        embedding_dim: Width of the embedding.
        image_size: Side of the images in pixels, a multiple of 16.
    """

    blocks: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    embedding_dim: int = 512
    image_size: int = 112

    @property
    def num_features(self) -> int:
        """Values that the last layer sees."""
        return self.widths[-1] * (self.image_size // 2**NUM_STAGES) ** 2


RELEASED = {"r50": IResNetConfig((3, 4, 14, 3)), "r100": IResNetConfig((3, 13, 30, 3))}
"""The released networks: `glintr100.onnx` and Arc2Face's `arcface.onnx` are of the second kind."""


class ChannelAffine(nnx.Module):
    """A scale and a shift per channel: a batch norm with its statistics.

    Args:
        width: Channels.
    """

    def __init__(self, width: int):
        self.scale = nnx.Param(jnp.ones(width), logical_axes=("norm",))
        self.bias = nnx.Param(jnp.zeros(width), logical_axes=("norm",))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Applies both."""
        return x * self.scale[...] + self.bias[...]


class PReLU(nnx.Module):
    """A leaky ReLU whose slope is learned per channel.

    Args:
        width: Channels.
    """

    def __init__(self, width: int):
        self.slope = nnx.Param(jnp.full(width, 0.25), logical_axes=("norm",))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Applies it."""
        return jnp.where(x >= 0, x, x * self.slope[...])


class IResNetBlock(nnx.Module):
    """Norm, convolution, PReLU, convolution, beside a shortcut.

    Args:
        width_in: Channels in.
        width: Channels out.
        stride: 2 halves the image, and the shortcut is a convolution.
        rngs: Initialisation keys.
    """

    def __init__(self, width_in: int, width: int, stride: int, *, rngs: nnx.Rngs):
        self.norm = ChannelAffine(width_in)
        self.conv_1 = square_conv(width_in, width, 3, rngs=rngs)
        self.prelu = PReLU(width)
        self.conv_2 = square_conv(width, width, 3, stride=stride, rngs=rngs)
        self.projects = stride != 1
        if self.projects:
            self.shortcut = square_conv(width_in, width, 1, stride=stride, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n y x d"]:
        """Applies the block."""
        residual = self.conv_2(self.prelu(self.conv_1(self.norm(x))))
        return residual + (self.shortcut(x) if self.projects else x)


class IResNetStage(nnx.Module):
    """A block that halves the image, then blocks of one kind, stacked and run by a scan.

    Args:
        width_in: Channels in.
        width: Channels out.
        num_blocks: All blocks.
        rngs: Initialisation keys.
    """

    def __init__(self, width_in: int, width: int, num_blocks: int, *, rngs: nnx.Rngs):
        self.first = IResNetBlock(width_in, width, 2, rngs=rngs)
        self.has_rest = num_blocks > 1
        if self.has_rest:

            @nnx.split_rngs(splits=num_blocks - 1)
            @nnx.vmap(in_axes=0, out_axes=0)
            def stacked_blocks(rngs: nnx.Rngs) -> IResNetBlock:
                return IResNetBlock(width, width, 1, rngs=rngs)

            self.rest = stacked_blocks(rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n y x d"]:
        """Applies all blocks."""
        x = self.first(x)
        if not self.has_rest:
            return x

        def run(x: Array, block: IResNetBlock) -> Array:
            return block(x)

        return nnx.scan(run, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.rest)


class IResNet(nnx.Module):
    """Embeds aligned faces.

    Args:
        config: Sizes.
        rngs: Initialisation keys.
    """

    def __init__(self, config: IResNetConfig, *, rngs: nnx.Rngs):
        widths = config.widths
        self.stem = square_conv(3, widths[0], 3, rngs=rngs)
        self.prelu = PReLU(widths[0])
        self.stages = nnx.List(
            [
                IResNetStage(width_in, width, num_blocks, rngs=rngs)
                for width_in, width, num_blocks in zip((widths[0], *widths), widths, config.blocks)
            ]
        )
        self.norm = ChannelAffine(widths[-1])
        self.head = nnx.Linear(
            config.num_features,
            config.embedding_dim,
            kernel_metadata={"logical_axes": ("conv_in", "embedding")},
            bias_metadata={"logical_axes": ("embedding",)},
            rngs=rngs,
        )

    def __call__(self, faces: Float[Array, "n s s 3"]) -> Float[Array, "n e"]:
        """Embeds faces.

        Args:
            faces: RGB in [-1, 1], aligned to the template of `sr_jax.teachers.faces.landmarks`.

        Returns:
            float32 embeddings, not normalised.
        """
        x = self.prelu(self.stem(faces))
        for stage in self.stages:
            x = stage(x)
        return self.head(self.norm(x).reshape(len(x), -1))

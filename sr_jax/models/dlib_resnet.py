"""The face recognition network that the dlib library publishes: 29 convolutions, 128 values a face.

Source: dlib's example `dnn_face_recognition_ex.cpp` (network `anet_type`), a cut-down ResNet-34 (He et al. 2015) that
was trained with a metric loss. The affine layer after each convolution, which holds the statistics of the batch norm
of training, is folded into the convolution when weights are loaded.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8

from sr_jax.models.convolution import square_conv

INPUT_SIZE = 150
EMBEDDING_DIM = 128
# Channels of each residual block, input side first; a block whose stride is 2 halves the image.
BLOCKS = (
    *((32, 1), (32, 1), (32, 1)),
    *((64, 2), (64, 1), (64, 1), (64, 1)),
    *((128, 2), (128, 1), (128, 1)),
    *((256, 2), (256, 1), (256, 1)),
    (256, 2),
)
# Means of the training images, RGB, and the divisor (dlib: `input_rgb_image`).
_MEAN = (122.782, 117.001, 104.298)
_DIVISOR = 256.0


class DlibResNet(nnx.Module):
    """The network from an aligned face to its descriptor.

    Args:
        rngs: Initialisation keys.
    """

    def __init__(self, *, rngs: nnx.Rngs):
        self.stem = square_conv(3, BLOCKS[0][0], 7, stride=2, padding=0, rngs=rngs)
        widths_in = [BLOCKS[0][0]] + [width for width, _ in BLOCKS[:-1]]
        self.blocks = nnx.List([_Block(w_in, w, stride, rngs=rngs) for w_in, (w, stride) in zip(widths_in, BLOCKS)])
        self.head = nnx.Linear(
            BLOCKS[-1][0],
            EMBEDDING_DIM,
            use_bias=False,
            kernel_metadata={"logical_axes": ("conv_in", "embedding")},
            rngs=rngs,
        )

    def __call__(self, chips: UInt8[Array, "n 150 150 3"] | Float[Array, "n 150 150 3"]) -> Float[Array, "n 128"]:
        """Describes aligned faces.

        Args:
            chips: RGB, 0 to 255, eyes and mouth at dlib's places (see `sr_jax.teachers.faces.dlib`).

        Returns:
            Descriptors, not normalised: two of the same person are less than about 0.6 apart.
        """
        x = (chips.astype(jnp.float32) - jnp.array(_MEAN)) / _DIVISOR
        x = nnx.max_pool(nnx.relu(self.stem(x)), (3, 3), (2, 2), "VALID")
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(x, axis=(1, 2)))


class _Block(nnx.Module):
    """Two 3x3 convolutions beside a shortcut; the shortcut of a block with stride 2 is an average pool."""

    def __init__(self, width_in: int, width: int, stride: int, *, rngs: nnx.Rngs):
        self.stride = stride
        # dlib pads by half the kernel, but not at all where the stride is not 1.
        self.conv_1 = square_conv(width_in, width, 3, stride=stride, padding=1 if stride == 1 else 0, rngs=rngs)
        self.conv_2 = square_conv(width, width, 3, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n y x d"]:
        residual = self.conv_2(nnx.relu(self.conv_1(x)))
        shortcut = x if self.stride == 1 else nnx.avg_pool(x, (2, 2), (2, 2), "VALID")
        return nnx.relu(_add(residual, shortcut))


def _add(first: Array, second: Array) -> Array:
    """Adds two images of different size or width as dlib does: what is missing at the high end counts as zero."""
    shape = [max(sides) for sides in zip(first.shape, second.shape)]
    pads = ([(0, want - have) for want, have in zip(shape, image.shape)] for image in (first, second))
    return sum(jnp.pad(image, pad) for image, pad in zip((first, second), pads))

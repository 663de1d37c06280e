"""A small face detector: a heatmap of face centres with a box at each place (after CenterNet and CenterFace)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

STRIDE = 4
"""Pixels along each side of a cell of the heatmap."""


@dataclass(frozen=True)
class FaceDetectorConfig:
    """Size of a detector.

    Attributes:
        width: Channels.
        blocks: Residual blocks.
        frame_height: Height in pixels of the frames it is fitted on; frames of other heights are resized to it.
    """

    width: int
    blocks: int
    frame_height: int


class FaceDetectorNetwork(nnx.Module):
    """A norm-free residual network at stride 4; every second block is dilated to see a whole head."""

    def __init__(self, config: FaceDetectorConfig, *, rngs: nnx.Rngs):
        width = config.width
        self.stem = nnx.Conv(3, width, (8, 8), strides=STRIDE, **_axes("conv_in", "conv_out"), rngs=rngs)
        self.blocks = nnx.List([_Block(width, 1 + i % 2, rngs=rngs) for i in range(config.blocks)])
        self.head = nnx.Conv(width, 5, (1, 1), **_axes("conv_in", "classes"), rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n y x 5"]:
        """Returns raw outputs for each cell of `STRIDE` pixels.

        Args:
            images: Values in [-1, 1]; both sides multiples of `STRIDE`.

        Returns:
            Logit of a face centre, offset x, y of the centre from the middle of the cell, in cells, and log width and
            height, in cells.
        """
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        return self.head(nnx.silu(x))


class _Block(nnx.Module):
    def __init__(self, width: int, dilation: int, *, rngs: nnx.Rngs):
        axes = _axes("conv_in", "conv_out")
        self.first = nnx.Conv(width, width, (3, 3), kernel_dilation=dilation, **axes, rngs=rngs)
        # Starts as the identity: without norms, that keeps the first steps stable.
        zeros = nnx.initializers.zeros_init()
        self.second = nnx.Conv(width, width, (1, 1), kernel_init=zeros, **axes, rngs=rngs)

    def __call__(self, x: Float[Array, "n y x c"]) -> Float[Array, "n y x c"]:
        return x + self.second(nnx.silu(self.first(nnx.silu(x))))


def _axes(conv_in: str, conv_out: str) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        "kernel_metadata": {"logical_axes": ("kernel", "kernel", conv_in, conv_out)},
        "bias_metadata": {"logical_axes": (conv_out,)},
    }


def find_peaks(
    outputs: Float[Array, "n y x 5"], count: int
) -> tuple[Float[Array, "n {count} 4"], Float[Array, "n {count}"]]:
    """Reads boxes from raw outputs.

    Args:
        outputs: What `FaceDetectorNetwork` returns.
        count: Candidates a frame.

    Returns:
        Boxes x0, y0, x1, y1 in pixels and their scores in [0, 1], best first. Cells that are not the maximum of their
        3x3 surroundings have score 0.
    """
    n, _, columns, _ = outputs.shape
    heat = jax.nn.sigmoid(outputs[..., 0])
    highest = jax.lax.reduce_window(heat, -jnp.inf, jax.lax.max, (1, 3, 3), (1, 1, 1), "SAME")
    heat = jnp.where(heat == highest, heat, 0.0).reshape(n, -1)
    scores, cells = jax.lax.top_k(heat, count)
    values = jnp.take_along_axis(outputs.reshape(n, -1, 5), cells[..., None], axis=1)
    centres = jnp.stack([cells % columns, cells // columns], axis=-1) + 0.5 + values[..., 1:3]
    half = jnp.exp(values[..., 3:5]) / 2
    return jnp.concatenate([centres - half, centres + half], axis=-1) * STRIDE, scores

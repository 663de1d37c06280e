"""Inception v3 (Szegedy et al. 2015, arXiv 1512.00567) as it is in the TensorFlow graph that FID was defined with.

It differs from the released classifier of torchvision in its pools: averages leave the padding out, and the last block
takes a maximum. Batch norms, which are fixed, are part of the convolutions before them. The weights are always loaded,
so fresh ones are of a plain scale.

Reference class: `FeatureExtractorInceptionV3` (torch-fidelity); modules have its names.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sr_jax.models.convolution import conv


class Layer(NamedTuple):
    """A convolution.

    Attributes:
        name: Of the module; "" in the name of a branch's pool.
        width: Channels out.
        rows: Rows of the kernel.
        columns: Columns.
        stride: 1, where the input is padded to keep its size, or 2, where it is not padded.
    """

    name: str
    width: int
    rows: int
    columns: int
    stride: int = 1


Branch = tuple[tuple[Layer, ...], tuple[Layer, ...]]
"""Convolutions one behind the other, and convolutions side by side behind them, where there are any."""


class Block(NamedTuple):
    """Branches side by side.

    Attributes:
        name: Of the module.
        branches: Those that begin with a convolution.
        pool: What the last branch begins with: "average", "maximum", or "halve" for a maximum with stride 2.
        pooled: The convolution behind the pool; None where there is none.
    """

    name: str
    branches: tuple[Branch, ...]
    pool: str
    pooled: Layer | None


def _chain(*layers: Layer) -> Branch:
    return layers, ()


def _block_a(name: str, pooled: int) -> Block:
    branches = (
        _chain(Layer("branch1x1", 64, 1, 1)),
        _chain(Layer("branch5x5_1", 48, 1, 1), Layer("branch5x5_2", 64, 5, 5)),
        _chain(Layer("branch3x3dbl_1", 64, 1, 1), Layer("branch3x3dbl_2", 96, 3, 3), Layer("branch3x3dbl_3", 96, 3, 3)),
    )
    return Block(name, branches, "average", Layer("branch_pool", pooled, 1, 1))


def _block_c(name: str, inner: int) -> Block:
    branches = (
        _chain(Layer("branch1x1", 192, 1, 1)),
        _chain(Layer("branch7x7_1", inner, 1, 1), Layer("branch7x7_2", inner, 1, 7), Layer("branch7x7_3", 192, 7, 1)),
        _chain(
            Layer("branch7x7dbl_1", inner, 1, 1),
            Layer("branch7x7dbl_2", inner, 7, 1),
            Layer("branch7x7dbl_3", inner, 1, 7),
            Layer("branch7x7dbl_4", inner, 7, 1),
            Layer("branch7x7dbl_5", 192, 1, 7),
        ),
    )
    return Block(name, branches, "average", Layer("branch_pool", 192, 1, 1))


def _block_e(name: str, pool: str) -> Block:
    branches: tuple[Branch, ...] = (
        _chain(Layer("branch1x1", 320, 1, 1)),
        ((Layer("branch3x3_1", 384, 1, 1),), (Layer("branch3x3_2a", 384, 1, 3), Layer("branch3x3_2b", 384, 3, 1))),
        (
            (Layer("branch3x3dbl_1", 448, 1, 1), Layer("branch3x3dbl_2", 384, 3, 3)),
            (Layer("branch3x3dbl_3a", 384, 1, 3), Layer("branch3x3dbl_3b", 384, 3, 1)),
        ),
    )
    return Block(name, branches, pool, Layer("branch_pool", 192, 1, 1))


_MIXED_6A = Block(
    "Mixed_6a",
    (
        _chain(Layer("branch3x3", 384, 3, 3, 2)),
        _chain(
            Layer("branch3x3dbl_1", 64, 1, 1), Layer("branch3x3dbl_2", 96, 3, 3), Layer("branch3x3dbl_3", 96, 3, 3, 2)
        ),
    ),
    "halve",
    None,
)
_MIXED_7A = Block(
    "Mixed_7a",
    (
        _chain(Layer("branch3x3_1", 192, 1, 1), Layer("branch3x3_2", 320, 3, 3, 2)),
        _chain(
            Layer("branch7x7x3_1", 192, 1, 1),
            Layer("branch7x7x3_2", 192, 1, 7),
            Layer("branch7x7x3_3", 192, 7, 1),
            Layer("branch7x7x3_4", 192, 3, 3, 2),
        ),
    ),
    "halve",
    None,
)
STEM = (
    Layer("Conv2d_1a_3x3", 32, 3, 3, 2),
    Layer("Conv2d_2a_3x3", 32, 3, 3),
    Layer("Conv2d_2b_3x3", 64, 3, 3),
    Layer("Conv2d_3b_1x1", 80, 1, 1),
    Layer("Conv2d_4a_3x3", 192, 3, 3),
)
"""The first convolutions; a pool lies behind the third and the last one."""
BLOCKS = (
    _block_a("Mixed_5b", 32),
    _block_a("Mixed_5c", 64),
    _block_a("Mixed_5d", 64),
    _MIXED_6A,
    _block_c("Mixed_6b", 128),
    _block_c("Mixed_6c", 160),
    _block_c("Mixed_6d", 160),
    _block_c("Mixed_6e", 192),
    _MIXED_7A,
    _block_e("Mixed_7b", "average"),
    _block_e("Mixed_7c", "maximum"),
)
_POOLED_STEM = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")
# In the graph, of the convolutions with stride 1 these two are not padded.
_UNPADDED = ("Conv2d_2a_3x3", "Conv2d_4a_3x3")


def layers_of(block: Block) -> list[Layer]:
    """All convolutions of a block."""
    found = [layer for chain, ends in block.branches for layer in (*chain, *ends)]
    return [*found, block.pooled] if block.pooled else found


class InceptionBlock(nnx.Module):
    """Branches side by side, joined over channels.

    Args:
        block: Its description.
        width: Channels in.
        divisor: What all widths are divided by.
        rngs: Initialisation keys.
    """

    def __init__(self, block: Block, width: int, divisor: int, *, rngs: nnx.Rngs):
        self.block = block
        for chain, ends in (*block.branches, ((block.pooled,), ())) if block.pooled else block.branches:
            before = width
            for layer in chain:
                setattr(self, layer.name, _conv(layer, before, divisor, rngs=rngs))
                before = layer.width // divisor
            for layer in ends:
                setattr(self, layer.name, _conv(layer, before, divisor, rngs=rngs))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n y x d"]:
        """Applies the block."""
        results = []
        for chain, ends in self.block.branches:
            y = x
            for layer in chain:
                y = jax.nn.relu(getattr(self, layer.name)(y))
            results += [jax.nn.relu(getattr(self, layer.name)(y)) for layer in ends] if ends else [y]
        pooled = _pool(x, self.block.pool)
        if self.block.pooled is not None:
            pooled = jax.nn.relu(getattr(self, self.block.pooled.name)(pooled))
        return jnp.concatenate([*results, pooled], axis=-1)


class InceptionV3(nnx.Module):
    """The features behind the last pool, 2048 numbers an image.

    Args:
        divisor: What all widths are divided by, for tests; 1 is the released network.
        rngs: Initialisation keys.
    """

    def __init__(self, divisor: int = 1, *, rngs: nnx.Rngs):
        width = 3
        for layer in STEM:
            setattr(self, layer.name, _conv(layer, width, divisor, rngs=rngs))
            width = layer.width // divisor
        for block in BLOCKS:
            setattr(self, block.name, InceptionBlock(block, width, divisor, rngs=rngs))
            width = _width_behind(block, width, divisor)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n d"]:
        """Features of RGB images in [-1, 1], of 299x299 pixels in the convention of FID."""
        x = images.astype(jnp.float32)
        for layer in STEM:
            x = jax.nn.relu(getattr(self, layer.name)(x))
            if layer.name in _POOLED_STEM:
                x = _pool(x, "halve")
        for block in BLOCKS:
            x = getattr(self, block.name)(x)
        return x.mean(axis=(1, 2))


def _width_behind(block: Block, width: int, divisor: int) -> int:
    ends = [ends or chain[-1:] for chain, ends in block.branches]
    joined = sum(layer.width // divisor for layers in ends for layer in layers)
    return joined + (block.pooled.width // divisor if block.pooled else width)


def _conv(layer: Layer, width: int, divisor: int, *, rngs: nnx.Rngs) -> nnx.Conv:
    padded = layer.stride == 1 and layer.name not in _UNPADDED
    padding = [(side // 2, side // 2) if padded else (0, 0) for side in (layer.rows, layer.columns)]
    size = (layer.rows, layer.columns)
    return conv(width, layer.width // divisor, size, padding=padding, stride=layer.stride, rngs=rngs)


def _pool(x: Float[Array, "n h w c"], kind: str) -> Float[Array, "n y x c"]:
    if kind == "halve":
        return nnx.max_pool(x, (3, 3), (2, 2), padding="VALID")
    if kind == "maximum":
        return nnx.max_pool(x, (3, 3), (1, 1), padding="SAME")
    return nnx.avg_pool(x, (3, 3), (1, 1), padding="SAME", count_include_pad=False)

"""The DINOv2 vision transformer (Oquab et al. 2023, arXiv 2304.07193) as a source of features from several depths.

Pre-norm blocks whose branches are scaled per channel (LayerScale), a class token and learned positions, which are
interpolated to the size of the image; ViT-g has gated feed-forward layers (SwiGLU). The blocks are stacked; they run as
one scan from tap to tap. The weights are always loaded, so fresh ones are of a plain scale.

Reference classes: `DinoVisionTransformer` (facebookresearch/dinov2), `Dinov2Backbone` (transformers).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.models import layers
from sr_jax.models.attention import dot_product_attention

# Of the cubic convolution kernel that PyTorch's bicubic interpolation uses.
_CUBIC_A = -0.75


@dataclasses.dataclass(frozen=True)
class DINOv2Config:
    """Sizes of the transformer; the defaults are ViT-S/14, as released.

    Attributes:
        hidden_size: Width.
        num_layers: Blocks.
        num_attention_heads: Heads.
        patch_size: Side of a patch in pixels.
        image_size: Side of the images that the learned positions are for, in pixels.
        mlp_ratio: Width of a block's hidden layer over its own; see `hidden_width` for gated ones.
        swiglu: Whether feed-forward layers are gated: ViT-g's.
        interpolate_offset: What is added to the number of patches along an axis when the scale of positions is
            computed. The original adds 0.1; transformers adds nothing.
        layer_norm_eps: Of every norm.
    """

    hidden_size: int = 384
    num_layers: int = 12
    num_attention_heads: int = 6
    patch_size: int = 14
    image_size: int = 518
    mlp_ratio: int = 4
    swiglu: bool = False
    interpolate_offset: float = 0.1
    layer_norm_eps: float = 1e-6

    @property
    def grid_size(self) -> int:
        """Learned positions along each axis."""
        return self.image_size // self.patch_size

    @property
    def hidden_width(self) -> int:
        """Width of a block's hidden layer; of a gated one two thirds, rounded up to a multiple of 8."""
        width = self.mlp_ratio * self.hidden_size
        return (int(width * 2 / 3) + 7) // 8 * 8 if self.swiglu else width


class DINOv2Block(nnx.Module):
    """Attention and feed-forward, each normalised before and scaled after.

    Args:
        config: Of the transformer.
        rngs: Initialisation keys.
        dtype: Compute type of the matrix products; norms and softmax are float32.
    """

    def __init__(self, config: DINOv2Config, *, rngs: nnx.Rngs, dtype: DTypeLike):
        width, hidden = config.hidden_size, config.hidden_width
        self.num_heads, self.swiglu = config.num_attention_heads, config.swiglu
        self.dtype = dtype
        self.norm1 = layers.layer_norm(width, config.layer_norm_eps, rngs=rngs)
        self.qkv = layers.linear(width, 3 * width, ("embed", "heads"), rngs=rngs, dtype=dtype)
        self.proj = layers.linear(width, width, ("heads", "embed"), rngs=rngs, dtype=dtype)
        self.ls1 = _scale(width)
        self.norm2 = layers.layer_norm(width, config.layer_norm_eps, rngs=rngs)
        # Of a gated layer, gates and values in one.
        inner = 2 * hidden if config.swiglu else hidden
        self.fc1 = layers.linear(width, inner, ("embed", "mlp"), rngs=rngs, dtype=dtype)
        self.fc2 = layers.linear(hidden, width, ("mlp", "embed"), rngs=rngs, dtype=dtype)
        self.ls2 = _scale(width)

    def __call__(self, x: Float[Array, "n l d"]) -> Float[Array, "n l d"]:
        """Applies both layers to all tokens."""
        qkv = self.qkv(self.norm1(x).astype(self.dtype)).reshape(*x.shape[:2], 3, self.num_heads, -1)
        attended = dot_product_attention(*(qkv[:, :, part] for part in range(3)))
        x = x + self.proj(attended.reshape(x.shape)) * self.ls1[...].astype(self.dtype)
        hidden = self.fc1(self.norm2(x).astype(self.dtype))
        if self.swiglu:
            gates, values = jnp.split(hidden, 2, axis=-1)
            hidden = jax.nn.silu(gates) * values
        else:
            hidden = jax.nn.gelu(hidden, approximate=False)
        return x + self.fc2(hidden) * self.ls2[...].astype(self.dtype)


class DINOv2(nnx.Module):
    """Features of images after some of the blocks.

    Args:
        config: Sizes.
        rngs: Initialisation keys.
        dtype: Compute type of matrix products and of the residual stream.
    """

    def __init__(self, config: DINOv2Config, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        self.config = config
        self.dtype = dtype
        width, normal = config.hidden_size, nnx.initializers.normal(0.02)
        self.patch_embed = layers.linear(
            3 * config.patch_size**2, width, ("patch", "embed"), rngs=rngs, dtype=dtype, kernel_init=normal
        )
        self.cls_token = nnx.Param(normal(rngs.params(), (1, width)), logical_axes=("positions", "embed"))
        self.pos_embed = nnx.Param(
            normal(rngs.params(), (1 + config.grid_size**2, width)), logical_axes=("positions", "embed")
        )

        @nnx.split_rngs(splits=config.num_layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stacked_blocks(rngs: nnx.Rngs) -> DINOv2Block:
            return DINOv2Block(config, rngs=rngs, dtype=dtype)

        self.blocks = stacked_blocks(rngs)
        self.norm = layers.layer_norm(width, config.layer_norm_eps, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"], taps: tuple[int, ...]) -> tuple[Float[Array, "n y x d"], ...]:
        """Runs the blocks up to the last tap.

        Args:
            images: Normalised RGB whose height and width are multiples of the patch.
            taps: Numbers of the blocks, from 0 and rising, after which features are taken.

        Returns:
            For each tap the patch tokens, normalised by the final norm, on the grid of patches; no class token.
        """
        n, h, w, _ = images.shape
        patch = self.config.patch_size
        grid = (h // patch, w // patch)
        # In a patch the values are ordered channel, row, column, as in the released projection.
        patches = images.reshape(n, grid[0], patch, grid[1], patch, 3).transpose(0, 1, 3, 5, 2, 4)
        tokens = self.patch_embed(patches.reshape(n, grid[0] * grid[1], -1).astype(self.dtype))
        first = jnp.broadcast_to(self.cls_token[...].astype(self.dtype), (n, 1, tokens.shape[-1]))
        x = jnp.concatenate([first, tokens], axis=1) + self._positions(grid).astype(self.dtype)
        features, start = [], 0
        for tap in taps:
            x = self._run(x, start, tap + 1)
            start = tap + 1
            features.append(self.norm(x)[:, 1:].astype(self.dtype).reshape(n, *grid, -1))
        return tuple(features)

    def _run(self, x: Float[Array, "n l d"], start: int, stop: int) -> Float[Array, "n l d"]:
        """The blocks from `start` up to, not including, `stop`."""
        graphdef, stacked = nnx.split(self.blocks)
        rows = jax.tree.map(lambda leaf: leaf[start:stop], stacked)
        return jax.lax.scan(lambda x, row: (nnx.merge(graphdef, row)(x), None), x, rows)[0]

    def _positions(self, grid: tuple[int, int]) -> Float[Array, "l d"]:
        table = self.pos_embed[...].astype(jnp.float32)
        side = self.config.grid_size
        if grid == (side, side):
            return table
        rows, columns = (cubic_weights(side, length, self.config.interpolate_offset) for length in grid)
        patches = jnp.einsum("yi,xj,ijd->yxd", rows, columns, table[1:].reshape(side, side, -1))
        return jnp.concatenate([table[:1], patches.reshape(-1, table.shape[-1])])


def cubic_weights(length: int, new_length: int, offset: float) -> Float[np.ndarray, "{new_length} {length}"]:
    """The weights of bicubic interpolation along one axis, as PyTorch computes it with a scale factor.

    Args:
        length: Samples there are.
        new_length: Samples wanted.
        offset: The scale factor is `(new_length + offset) / length`.

    Returns:
        Rows that sum to 1; beyond the border its sample is repeated.
    """
    places = (np.arange(new_length) + 0.5) * length / (new_length + offset) - 0.5
    left = np.floor(places)
    weights = np.zeros((new_length, length))
    for neighbour in range(-1, 3):
        distance = np.abs(places - left - neighbour)
        near = ((_CUBIC_A + 2) * distance - (_CUBIC_A + 3)) * distance**2 + 1
        far = _CUBIC_A * (((distance - 5) * distance + 8) * distance - 4)
        index = np.clip(left + neighbour, 0, length - 1).astype(int)
        np.add.at(weights, (np.arange(new_length), index), np.where(distance <= 1, near, far))
    return weights.astype(np.float32)


def _scale(width: int) -> nnx.Param:
    return nnx.Param(jnp.ones(width), logical_axes=("norm",))

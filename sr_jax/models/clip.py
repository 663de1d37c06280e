"""CLIP (Radford et al. 2021, arXiv 2103.00020): one transformer reads images, another texts, into one space.

The weights are always loaded, so fresh ones are of a plain scale. Reference class: `CLIPModel` (transformers).
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sr_jax.models import layers

_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class TowerConfig:
    """Sizes of one of the two transformers.

    Attributes:
        width: Of its tokens.
        hidden: Of a block's hidden layer.
        num_layers: Blocks.
        num_heads: Heads.
        activation: Of the hidden layers; the released models of OpenAI have the quick one.
    """

    width: int = 768
    hidden: int = 3072
    num_layers: int = 12
    num_heads: int = 12
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"


@dataclasses.dataclass(frozen=True)
class CLIPConfig:
    """Sizes of both; the defaults are ViT-B/32, as released.

    Attributes:
        vision: Of images.
        text: Of texts.
        image_size: Side of the images, in pixels.
        patch_size: Side of a patch.
        vocabulary: Tokens there are; the last one ends a text.
        positions: Tokens of a text at most.
        embedding: Width of the space of both.
    """

    vision: TowerConfig = TowerConfig()
    text: TowerConfig = TowerConfig(512, 2048, 12, 8)
    image_size: int = 224
    patch_size: int = 32
    vocabulary: int = 49408
    positions: int = 77
    embedding: int = 512


class Block(nnx.Module):
    """Attention and feed-forward, each normalised before.

    Args:
        config: Of the transformer.
        causal: Whether tokens see only those before them.
        rngs: Initialisation keys.
    """

    def __init__(self, config: TowerConfig, causal: bool, *, rngs: nnx.Rngs):
        width, options = config.width, {"rngs": rngs, "dtype": jnp.float32}
        self.num_heads, self.activation, self.causal = config.num_heads, config.activation, causal
        self.layer_norm1 = layers.layer_norm(width, _NORM_EPSILON, rngs=rngs)
        self.q_proj, self.k_proj, self.v_proj = (
            layers.linear(width, width, ("embed", "heads"), **options) for _ in range(3)
        )
        self.out_proj = layers.linear(width, width, ("heads", "embed"), **options)
        self.layer_norm2 = layers.layer_norm(width, _NORM_EPSILON, rngs=rngs)
        self.fc1 = layers.linear(width, config.hidden, ("embed", "mlp"), **options)
        self.fc2 = layers.linear(config.hidden, width, ("mlp", "embed"), **options)

    def __call__(self, x: Float[Array, "n l d"]) -> Float[Array, "n l d"]:
        """Applies both layers to all tokens."""
        y = self.layer_norm1(x)
        q, k, v = (
            projection(y).reshape(*y.shape[:2], self.num_heads, -1)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        x = x + self.out_proj(jax.nn.dot_product_attention(q, k, v, is_causal=self.causal).reshape(x.shape))
        hidden = self.fc1(self.layer_norm2(x))
        quick = self.activation == "quick_gelu"
        hidden = hidden * jax.nn.sigmoid(1.702 * hidden) if quick else jax.nn.gelu(hidden, approximate=False)
        return x + self.fc2(hidden)


class CLIP(nnx.Module):
    """Both transformers.

    Args:
        config: Sizes.
        rngs: Initialisation keys.
    """

    def __init__(self, config: CLIPConfig, *, rngs: nnx.Rngs):
        self.config = config
        vision, text, normal = config.vision, config.text, nnx.initializers.normal(0.02)
        options = {"rngs": rngs, "dtype": jnp.float32, "use_bias": False}
        patches = (config.image_size // config.patch_size) ** 2
        self.patch_embedding = layers.linear(3 * config.patch_size**2, vision.width, ("patch", "embed"), **options)
        self.class_embedding = nnx.Param(normal(rngs.params(), (vision.width,)), logical_axes=("embed",))
        axes = ("positions", "embed")
        self.image_positions = nnx.Param(normal(rngs.params(), (1 + patches, vision.width)), logical_axes=axes)
        self.pre_norm = layers.layer_norm(vision.width, _NORM_EPSILON, rngs=rngs)
        self.vision = nnx.List([Block(vision, False, rngs=rngs) for _ in range(vision.num_layers)])
        self.post_norm = layers.layer_norm(vision.width, _NORM_EPSILON, rngs=rngs)
        self.visual_projection = layers.linear(vision.width, config.embedding, axes, **options)
        self.token_embedding = nnx.Param(
            normal(rngs.params(), (config.vocabulary, text.width)), logical_axes=("vocabulary", "embed")
        )
        self.text_positions = nnx.Param(normal(rngs.params(), (config.positions, text.width)), logical_axes=axes)
        self.text = nnx.List([Block(text, True, rngs=rngs) for _ in range(text.num_layers)])
        self.final_norm = layers.layer_norm(text.width, _NORM_EPSILON, rngs=rngs)
        self.text_projection = layers.linear(text.width, config.embedding, axes, **options)

    def images(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n e"]:
        """Embeddings of normalised RGB images of `image_size`, not of unit length."""
        side, grid = self.config.patch_size, self.config.image_size // self.config.patch_size
        # In a patch the values are ordered channel, row, column, as in the released projection.
        patches = images.reshape(len(images), grid, side, grid, side, 3).transpose(0, 1, 3, 5, 2, 4)
        tokens = self.patch_embedding(patches.reshape(len(images), grid * grid, -1).astype(jnp.float32))
        first = jnp.broadcast_to(self.class_embedding[...], (len(images), 1, tokens.shape[-1]))
        x = self.pre_norm(jnp.concatenate([first, tokens], axis=1) + self.image_positions[...])
        for block in self.vision:
            x = block(x)
        return self.visual_projection(self.post_norm(x[:, 0]))

    def texts(self, tokens: Int[Array, "n l"]) -> Float[Array, "n e"]:
        """Embeddings of texts, read at their first token of the highest number, which ends them."""
        x = self.token_embedding[...][tokens] + self.text_positions[...][: tokens.shape[1]]
        for block in self.text:
            x = block(x)
        return self.text_projection(self.final_norm(x)[jnp.arange(len(x)), tokens.argmax(axis=1)])

    def __call__(
        self, images: Float[Array, "n h w 3"], tokens: Int[Array, "m l"]
    ) -> tuple[Float[Array, "n e"], Float[Array, "m e"]]:
        """Embeddings of images and texts."""
        return self.images(images), self.texts(tokens)

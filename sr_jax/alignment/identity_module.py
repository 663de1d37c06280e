"""The identity alignment module: which face a latent shows, frame by frame (paper section 3.3)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.alignment.identity_config import IdentityConfig
from sr_jax.models.flops import Flops
from sr_jax.models.resnet import ResNet

_EPSILON = 1e-12


class IdentityModule(nnx.Module):
    """A residual network over each latent frame, beside its depth, to one face embedding of unit length.

    Args:
        config: Sizes.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, config: IdentityConfig, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        self.config = config
        self.network = ResNet(
            config.latent_channels * (2 if config.use_depth else 1),
            config.widths,
            config.blocks_per_stage,
            config.embedding_dim,
            config.pooled_size,
            rngs=rngs,
            dtype=dtype,
        )

    def __call__(
        self, latents: Float[Array, "b t h w c"], depth_latents: Float[Array, "b t h w c"] | None
    ) -> Float[Array, "b t e"]:
        """Embeds every latent frame.

        Args:
            latents: Clean (or predicted clean) video latents.
            depth_latents: Their depth latents, or None for a module without depth input.

        Returns:
            Float32 embeddings of unit length.

        Raises:
            ValueError: If depth latents are missing, or given to a module that does not take them.
        """
        if (depth_latents is not None) != self.config.use_depth:
            raise ValueError(f"depth_latents must be given exactly when use_depth is set ({self.config.use_depth})")
        x = latents if depth_latents is None else jnp.concatenate([latents, depth_latents], axis=-1)
        embedding = self.network(x.reshape(-1, *x.shape[2:])).reshape(*x.shape[:2], -1)
        # The constant keeps the gradient finite at an embedding of exactly 0.
        return embedding * jax.lax.rsqrt(jnp.sum(embedding**2, axis=-1, keepdims=True) + _EPSILON)


def identity_flops(config: IdentityConfig, size: tuple[int, int, int]) -> Flops:
    """The identity module on one clip.

    Args:
        config: Sizes.
        size: T, H and W of the latent.
    """
    frames, height, width = size
    channels = config.widths[0]
    total = height * width * 9 * config.latent_channels * (2 if config.use_depth else 1) * channels
    for stage, out in enumerate(config.widths):
        for index in range(config.blocks_per_stage):
            halves = stage > 0 and index == 0
            if halves:
                height, width = math.ceil(height / 2), math.ceil(width / 2)
            total += height * width * (9 * channels * out + 9 * out * out)
            if halves or channels != out:
                total += height * width * channels * out
            channels = out
    return Flops(2 * frames * (total + math.prod(config.pooled_size) * channels * config.embedding_dim), 0)

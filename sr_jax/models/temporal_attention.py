"""Attention along time at every pixel of a feature map (AnimateDiff's motion module, as Video Depth Anything has it).

Source: Guo et al. 2023 (arXiv 2307.04725); Chen et al. 2025, Video Depth Anything (arXiv 2501.12375), section 3.1.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.models import layers
from sr_jax.models.attention import dot_product_attention

_HEADS = 8
_NORM_GROUPS = 32
_NORM_EPSILON, _GROUP_NORM_EPSILON = 1e-5, 1e-6
_MAX_PERIOD = 10_000.0


class TemporalAttention(nnx.Module):
    """Self-attention over frames; positions are added before the projections.

    Args:
        width: Channels; a multiple of the 8 heads.
        rngs: Initialisation keys.
        dtype: Compute type; the softmax is float32.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        inner = ("embed", "heads")
        self.to_q = layers.linear(width, width, inner, rngs=rngs, dtype=dtype, use_bias=False)
        self.to_k = layers.linear(width, width, inner, rngs=rngs, dtype=dtype, use_bias=False)
        self.to_v = layers.linear(width, width, inner, rngs=rngs, dtype=dtype, use_bias=False)
        self.to_out = layers.linear(width, width, inner[::-1], rngs=rngs, dtype=dtype)

    def __call__(self, x: Float[Array, "n t c"]) -> Float[Array, "n t c"]:
        """Attends over the T frames of each of N pixels."""
        x = x + frame_positions(*x.shape[1:]).astype(x.dtype)
        q, k, v = (project(x).reshape(*x.shape[:2], _HEADS, -1) for project in (self.to_q, self.to_k, self.to_v))
        return self.to_out(dot_product_attention(q, k, v).reshape(x.shape))


class TemporalModule(nnx.Module):
    """One transformer block along time: twice attention, then a gated feed-forward, beside a shortcut.

    The last projection is zero-initialised, so that a new module passes its input on (`TemporalModule`).

    Args:
        width: Channels; a multiple of 32, the groups of the norm.
        rngs: Initialisation keys.
        dtype: Compute type; norms are float32.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        metadata = {"logical_axes": ("norm",)}
        embed = ("embed", "embed")
        self.dtype = dtype
        self.norm = nnx.GroupNorm(
            width,
            _NORM_GROUPS,
            epsilon=_GROUP_NORM_EPSILON,
            dtype=jnp.float32,
            scale_metadata=metadata,
            bias_metadata=metadata,
            rngs=rngs,
        )
        self.proj_in = layers.linear(width, width, embed, rngs=rngs, dtype=dtype)
        self.attention_blocks = nnx.List([TemporalAttention(width, rngs=rngs, dtype=dtype) for _ in range(2)])
        self.norms = nnx.List([layers.layer_norm(width, _NORM_EPSILON, rngs=rngs) for _ in range(2)])
        self.ff_norm = layers.layer_norm(width, _NORM_EPSILON, rngs=rngs)
        self.ff_in = layers.linear(width, 8 * width, ("embed", "mlp"), rngs=rngs, dtype=dtype)
        self.ff_out = layers.linear(4 * width, width, ("mlp", "embed"), rngs=rngs, dtype=dtype)
        self.proj_out = layers.linear(
            width, width, embed, rngs=rngs, dtype=dtype, kernel_init=nnx.initializers.zeros_init()
        )

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        """Lets every pixel see itself at the other times; T is 32 at most."""
        b, t, h, w, c = x.shape
        frames = self.norm(x.reshape(b * t, h, w, c)).astype(self.dtype)
        tokens = self.proj_in(frames.reshape(b, t, h * w, c).swapaxes(1, 2).reshape(-1, t, c))
        for norm, attention in zip(self.norms, self.attention_blocks):
            tokens = tokens + attention(norm(tokens).astype(self.dtype))
        values, gates = jnp.split(self.ff_in(self.ff_norm(tokens).astype(self.dtype)), 2, axis=-1)
        tokens = tokens + self.ff_out(values * jax.nn.gelu(gates, approximate=False))
        return x + self.proj_out(tokens).reshape(b, h * w, t, c).swapaxes(1, 2).reshape(x.shape)


def frame_positions(length: int, width: int) -> Float[np.ndarray, "{length} {width}"]:
    """Sinusoids of the frame's number: sines in the even channels, cosines in the odd ones."""
    frequencies = np.exp(np.arange(0, width, 2) * (-math.log(_MAX_PERIOD) / width))
    angles = np.arange(length)[:, None] * frequencies
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width).astype(np.float32)

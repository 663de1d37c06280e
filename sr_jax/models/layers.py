"""Layers of the CogVideoX transformer other than attention.

Initialisation is for training from scratch and follows DiT (Peebles & Xie 2023, section 3.2): Xavier-uniform linears
with zero biases, N(0, 0.02) time embedding. Modulations and the last projection are zero-initialised by their owners.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num

from sr_jax.parallel.activations import constrain

_MAX_PERIOD = 10_000.0


def linear(
    in_features: int,
    out_features: int,
    axes: tuple[str, str],
    *,
    rngs: nnx.Rngs,
    dtype: DTypeLike,
    kernel_init: nnx.initializers.Initializer | None = None,
    use_bias: bool = True,
) -> nnx.Linear:
    """A linear layer whose parameters carry `logical_axes`.

    Args:
        in_features: Input width.
        out_features: Output width.
        axes: Logical names of the kernel's input and output axis.
        rngs: Initialisation keys.
        dtype: Compute type; parameters are float32.
        kernel_init: Xavier-uniform when None.
        use_bias: Whether there is a bias.
    """
    return nnx.Linear(
        in_features,
        out_features,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=kernel_init or nnx.initializers.xavier_uniform(),
        kernel_metadata={"logical_axes": axes},
        bias_metadata={"logical_axes": axes[1:]},
        rngs=rngs,
    )


def layer_norm(width: int, epsilon: float, axis: str = "norm", *, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """LayerNorm with scale and bias, always computed and returned in float32."""
    metadata = {"logical_axes": (axis,)}
    return nnx.LayerNorm(
        width, epsilon=epsilon, dtype=jnp.float32, scale_metadata=metadata, bias_metadata=metadata, rngs=rngs
    )


def timestep_sinusoid(timesteps: Num[Array, "b"], dim: int) -> Float[Array, "b {dim}"]:
    """Sinusoids of a timestep, cosines first (diffusers: `get_timestep_embedding` with `flip_sin_to_cos`)."""
    half = dim // 2
    frequencies = jnp.exp(-math.log(_MAX_PERIOD) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = timesteps.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimestepEmbedding(nnx.Module):
    """Sinusoid of `in_features`, then linear, SiLU, linear (diffusers: `Timesteps` and `TimestepEmbedding`).

    Args:
        in_features: Width of the sinusoid.
        time_embed_dim: Output width.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, in_features: int, time_embed_dim: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        init = nnx.initializers.normal(0.02)
        self.in_features = in_features
        self.dtype = dtype
        self.linear_1 = linear(in_features, time_embed_dim, ("embed", "time"), rngs=rngs, dtype=dtype, kernel_init=init)
        self.linear_2 = linear(
            time_embed_dim, time_embed_dim, ("time", "time"), rngs=rngs, dtype=dtype, kernel_init=init
        )

    def __call__(self, timesteps: Num[Array, "b"]) -> Float[Array, "b e"]:
        """Embeds timesteps of any number type."""
        sinusoid = timestep_sinusoid(timesteps, self.in_features).astype(self.dtype)
        hidden = constrain(self.linear_1(constrain(sinusoid, "batch", None)), "batch", None)
        return constrain(self.linear_2(jax.nn.silu(hidden)), "batch", None)


def _modulation(time_embed_dim: int, features: int, *, rngs: nnx.Rngs, dtype: DTypeLike) -> nnx.Linear:
    """From the time embedding to shifts, scales and gates, all 0 at the start."""
    zeros = nnx.initializers.zeros_init()
    return linear(time_embed_dim, features, ("time", "embed"), rngs=rngs, dtype=dtype, kernel_init=zeros)


class AdaLayerNormZero(nnx.Module):
    """LayerNorm, modulated by the time embedding, of a text and a video stream (diffusers: `CogVideoXLayerNormZero`).

    Both streams share the norm; each has its own shift, scale and gate. The modulation is zero-initialised
    (adaLN-Zero): every gate starts closed, so that a new block is the identity.

    Args:
        time_embed_dim: Width of the time embedding.
        width: Model width.
        epsilon: Of the norm.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, time_embed_dim: int, width: int, epsilon: float, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.dtype = dtype
        self.linear = _modulation(time_embed_dim, 6 * width, rngs=rngs, dtype=dtype)
        self.norm = layer_norm(width, epsilon, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b s d"], time: Float[Array, "b e"], is_text: Bool[Array, "s"]
    ) -> tuple[Float[Array, "b s d"], Float[Array, "b s d"]]:
        """Returns the normalised, modulated tokens and the gate of the branch that follows."""
        modulation = constrain(self.linear(jax.nn.silu(time)), "batch", None)
        chunks = jnp.split(modulation[:, None, :], 6, axis=-1)
        shift, scale, gate = (
            jnp.where(is_text[:, None], text, video) for video, text in zip(chunks[:3], chunks[3:], strict=True)
        )
        return (self.norm(x) * (1 + scale) + shift).astype(self.dtype), gate


class AdaLayerNormOut(nnx.Module):
    """LayerNorm, shifted and scaled by the time embedding, before the last projection (diffusers: `AdaLayerNorm`).

    Args:
        time_embed_dim: Width of the time embedding.
        width: Model width.
        epsilon: Of the norm.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, time_embed_dim: int, width: int, epsilon: float, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.dtype = dtype
        self.linear = _modulation(time_embed_dim, 2 * width, rngs=rngs, dtype=dtype)
        self.norm = layer_norm(width, epsilon, rngs=rngs)

    def __call__(self, x: Float[Array, "b s d"], time: Float[Array, "b e"]) -> Float[Array, "b s d"]:
        """Normalises and modulates every token alike."""
        modulation = constrain(self.linear(jax.nn.silu(time)), "batch", None)
        shift, scale = jnp.split(modulation[:, None, :], 2, axis=-1)
        return (self.norm(x) * (1 + scale) + shift).astype(self.dtype)


class FeedForward(nnx.Module):
    """Linear to four times the width, tanh-approximated GELU, linear back.

    Args:
        width: Model width.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.proj_in = linear(width, 4 * width, ("embed", "mlp"), rngs=rngs, dtype=dtype)
        self.proj_out = linear(4 * width, width, ("mlp", "embed"), rngs=rngs, dtype=dtype)

    def __call__(self, x: Float[Array, "b s d"]) -> Float[Array, "b s d"]:
        """Applies the layer to every token."""
        hidden = self.proj_in(constrain(x, "batch", "tokens", None))
        hidden = constrain(hidden, "batch", "tokens", "mlp")
        return constrain(self.proj_out(jax.nn.gelu(hidden, approximate=True)), "batch", "stream", None)


def patchify(x: Float[Array, "b t h w c"], patch: tuple[int, int, int]) -> Float[Array, "b n p"]:
    """Cuts a latent into patches, one token each.

    A patch's values are ordered channel, frame, row, column, as in the released weights: the first rows of the
    projection that follows belong to the first channels.

    Args:
        x: Latent whose T, H and W are multiples of the patch.
        patch: Patch size in frames, rows and columns.
    """
    b, t, h, w, c = x.shape
    pt, ph, pw = patch
    x = x.reshape(b, t // pt, pt, h // ph, ph, w // pw, pw, c)
    return x.transpose(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, -1, c * pt * ph * pw)


def unpatchify(
    x: Float[Array, "b n p"], patch: tuple[int, int, int], size: tuple[int, int, int]
) -> Float[Array, "b t h w c"]:
    """Inverse of `patchify`.

    Args:
        x: Tokens.
        patch: Patch size in frames, rows and columns.
        size: T, H and W of the latent.
    """
    b = x.shape[0]
    (pt, ph, pw), (t, h, w) = patch, size
    x = x.reshape(b, t // pt, h // ph, w // pw, -1, pt, ph, pw)
    return x.transpose(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, t, h, w, -1)


def text_mask(text_length: int, video_length: int) -> Bool[Array, "s"]:
    """True for the text tokens, which come first in the joint sequence."""
    return jnp.arange(text_length + video_length) < text_length

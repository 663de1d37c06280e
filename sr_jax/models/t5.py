"""The T5 v1.1 text encoder (transformers: `T5EncoderModel` with `feed_forward_proj="gated-gelu"`).

A pre-norm transformer with RMS norms, no biases, a gated GELU and, in place of positions, a learned bias on the
distance of two tokens. The blocks share this bias (transformers keeps it in the first one), so it is a parameter of the
encoder and is computed once.

The blocks are apart, and each is a call of one compiled function: a scan over stacked blocks would copy the weights of
each before it multiplies with them (XXL has 0.8 GB a block in float32), which takes a third of the time on a CPU.
Kernels are kept as they are released, a row for each output, because a CPU reads them so (1.1 times as fast).

No attention mask: CogVideoX embeds padded prompts without one, so that every token sees the padding. The weights are
always loaded, so fresh ones are of a plain scale.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Sizes of the encoder, with transformers' names; the defaults are T5 v1.1 XXL, which CogVideoX uses.

    Attributes:
        vocab_size: Rows of the token table.
        d_model: Model width.
        d_kv: Channels of a head; `num_heads * d_kv` may differ from the model width.
        d_ff: Width of the feed-forward layer.
        num_layers: Blocks.
        num_heads: Attention heads.
        relative_attention_num_buckets: Classes of distance; one half for each direction.
        relative_attention_max_distance: From this distance on, all are of one class.
        layer_norm_epsilon: Of every norm.
    """

    vocab_size: int = 32128
    d_model: int = 4096
    d_kv: int = 64
    d_ff: int = 10240
    num_layers: int = 24
    num_heads: int = 64
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6


RELEASED = {
    "small": T5Config(d_model=512, d_ff=1024, num_layers=8, num_heads=6),
    "base": T5Config(d_model=768, d_ff=2048, num_layers=12, num_heads=12),
    "large": T5Config(d_model=1024, d_ff=2816, num_heads=16),
    "xl": T5Config(d_model=2048, d_ff=5120, num_heads=32),
    "xxl": T5Config(),
}
"""The released T5 v1.1 encoders by name."""


class T5Linear(nnx.Module):
    """A linear layer without a bias (PyTorch: `Linear`, with its weight as it is).

    Args:
        in_features: Input width.
        out_features: Output width.
        axes: Logical names of the input and output axis.
        rngs: Initialisation keys.
        dtype: Compute type; parameters are float32.
    """

    def __init__(self, in_features: int, out_features: int, axes: tuple[str, str], *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.dtype = dtype
        init = nnx.initializers.xavier_uniform(in_axis=1, out_axis=0)
        self.weight = nnx.Param(init(rngs.params(), (out_features, in_features)), logical_axes=axes[::-1])

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n d"]:
        """Applies the layer to every token."""
        return x.astype(self.dtype) @ self.weight[...].astype(self.dtype).T


class T5Attention(nnx.Module):
    """Multi-head self-attention whose logits are not scaled (transformers: `T5Attention`).

    Args:
        config: Of the encoder.
        rngs: Initialisation keys.
        dtype: Compute type; the softmax is float32.
    """

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs, dtype: DTypeLike):
        width = config.num_heads * config.d_kv
        self.num_heads = config.num_heads
        self.q = T5Linear(config.d_model, width, ("embed", "heads"), rngs=rngs, dtype=dtype)
        self.k = T5Linear(config.d_model, width, ("embed", "heads"), rngs=rngs, dtype=dtype)
        self.v = T5Linear(config.d_model, width, ("embed", "heads"), rngs=rngs, dtype=dtype)
        self.o = T5Linear(width, config.d_model, ("heads", "embed"), rngs=rngs, dtype=dtype)

    def __call__(self, x: Float[Array, "b n d"], bias: Float[Array, "heads n n"]) -> Float[Array, "b n d"]:
        """Attends over all tokens; `bias` is added to the logits."""
        q, k, v = (
            project(x).reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2) for project in (self.q, self.k, self.v)
        )
        logits = jnp.einsum("bhnd,bhmd->bhnm", q, k, preferred_element_type=jnp.float32) + bias
        weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
        return self.o(jnp.einsum("bhnm,bhmd->bhnd", weights, v).swapaxes(1, 2).reshape(*x.shape[:2], -1))


class T5FeedForward(nnx.Module):
    """Feed-forward layer with a tanh-approximated GELU as gate (transformers: `T5DenseGatedActDense`).

    Args:
        config: Of the encoder.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.wi_0 = T5Linear(config.d_model, config.d_ff, ("embed", "mlp"), rngs=rngs, dtype=dtype)
        self.wi_1 = T5Linear(config.d_model, config.d_ff, ("embed", "mlp"), rngs=rngs, dtype=dtype)
        self.wo = T5Linear(config.d_ff, config.d_model, ("mlp", "embed"), rngs=rngs, dtype=dtype)

    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Applies the layer to every token."""
        return self.wo(jax.nn.gelu(self.wi_0(x), approximate=True) * self.wi_1(x))


class T5Block(nnx.Module):
    """Attention and feed-forward, each normalised before and added after (transformers: `T5Block`).

    Args:
        config: Of the encoder.
        rngs: Initialisation keys.
        dtype: Compute type of matrix products and of the residual stream.
    """

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.dtype = dtype
        self.attention_norm = _rms_norm(config, rngs=rngs)
        self.attention = T5Attention(config, rngs=rngs, dtype=dtype)
        self.feed_forward_norm = _rms_norm(config, rngs=rngs)
        self.feed_forward = T5FeedForward(config, rngs=rngs, dtype=dtype)

    def __call__(self, x: Float[Array, "b n d"], bias: Float[Array, "heads n n"]) -> Float[Array, "b n d"]:
        """Applies both layers."""
        x = x + self.attention(self.attention_norm(x).astype(self.dtype), bias)
        return x + self.feed_forward(self.feed_forward_norm(x).astype(self.dtype))


class T5Encoder(nnx.Module):
    """Embeds token numbers in their context.

    Args:
        config: Sizes.
        rngs: Initialisation keys.
        dtype: Compute type of matrix products and of the residual stream; norms and softmax are float32.
    """

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        self.config = config
        self.dtype = dtype
        self.token_embedding = _table(config.vocab_size, config.d_model, ("vocab", "embed"), rngs=rngs)
        self.relative_attention_bias = _table(
            config.relative_attention_num_buckets, config.num_heads, ("positions", "heads"), rngs=rngs
        )

        self.blocks = nnx.List([T5Block(config, rngs=rngs, dtype=dtype) for _ in range(config.num_layers)])
        self.final_norm = _rms_norm(config, rngs=rngs)

    def __call__(self, ids: Int[Array, "b n"]) -> Float[Array, "b n d"]:
        """Runs the encoder; not to be compiled as a whole, which would build one program of all blocks.

        Args:
            ids: Token numbers, padded to one length; every token attends to all others, padding included.

        Returns:
            The last hidden state, in the compute type.
        """
        x = self.token_embedding[...][ids].astype(self.dtype)
        buckets = distance_buckets(
            ids.shape[1], self.config.relative_attention_num_buckets, self.config.relative_attention_max_distance
        )
        bias = self.relative_attention_bias[...].astype(jnp.float32)[buckets].transpose(2, 0, 1)

        for block in self.blocks:
            x = _run_block(*nnx.split(block), x, bias)
        return self.final_norm(x).astype(self.dtype)


# Not `nnx.jit`, which would return the weights, too, as copies.
@functools.partial(jax.jit, static_argnums=0)
def _run_block(
    block: nnx.GraphDef, params: nnx.State, x: Float[Array, "b n d"], bias: Float[Array, "heads n n"]
) -> Float[Array, "b n d"]:
    return nnx.merge(block, params)(x, bias)


def distance_buckets(length: int, num_buckets: int, max_distance: int) -> Int[np.ndarray, "{length} {length}"]:
    """The class of distance from each token (row) to each other (column): T5's relative positions, both directions.

    In each direction half of the classes are single distances and the others widen by a constant factor up to
    `max_distance` (transformers: `T5Attention._relative_position_bucket`).
    """
    offsets = np.arange(length)[None, :] - np.arange(length)[:, None]
    per_direction = num_buckets // 2
    exact = per_direction // 2
    distances = np.abs(offsets)
    # In float32, as in the original: on a class's edge its rounding decides.
    octaves = np.log(np.maximum(distances, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        math.log(max_distance / exact)
    )
    widening = exact + (octaves * np.float32(per_direction - exact)).astype(np.int64)
    classes = np.where(distances < exact, distances, np.minimum(widening, per_direction - 1))
    return classes + per_direction * (offsets > 0)


def _table(rows: int, columns: int, axes: tuple[str, str], *, rngs: nnx.Rngs) -> nnx.Param:
    values = nnx.initializers.normal(1.0)(rngs.params(), (rows, columns))
    return nnx.Param(values, logical_axes=axes)


def _rms_norm(config: T5Config, *, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.d_model,
        epsilon=config.layer_norm_epsilon,
        dtype=jnp.float32,
        scale_metadata={"logical_axes": ("norm",)},
        rngs=rngs,
    )

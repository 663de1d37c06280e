"""Joint self-attention of CogVideoX over text and video tokens."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.models import layers

_QK_NORM_EPSILON = 1e-6


def dot_product_attention(
    q: Float[Array, "b n heads head_dim"],
    k: Float[Array, "b m heads head_dim"],
    v: Float[Array, "b m heads head_dim"],
) -> Float[Array, "b n heads head_dim"]:
    """Full attention, scaled by `head_dim ** -0.5`, with the softmax in float32.

    Heads are moved to the front first: XLA's CPU matrix product is a tenth of a training step faster so than with
    `jax.nn.dot_product_attention`.
    """
    q, k, v = (x.swapaxes(1, 2) for x in (q * q.shape[-1] ** -0.5, k, v))
    logits = jnp.einsum("bhnd,bhmd->bhnm", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("bhnm,bhmd->bhnd", weights, v).swapaxes(1, 2)


def rotate(
    x: Float[Array, "b n heads head_dim"], cos: Float[Array, "n head_dim"], sin: Float[Array, "n head_dim"]
) -> Float[Array, "b n heads head_dim"]:
    """Turns the channel pairs `(2i, 2i + 1)` of every head by the rotary angles (diffusers: `apply_rotary_emb`)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = jnp.stack([-odd, even], axis=-1).reshape(x.shape)
    return x * cos[:, None, :] + turned * sin[:, None, :]


class SelfAttention(nnx.Module):
    """Multi-head attention with LayerNorm on queries and keys (diffusers: `CogVideoXAttnProcessor2_0`).

    Padding tokens of the text are attended like any other: the released models were trained so.

    Args:
        num_heads: Attention heads.
        head_dim: Channels of one head.
        rngs: Initialisation keys.
        dtype: Compute type of the matrix products; norms, rotation and softmax are float32.
    """

    def __init__(self, num_heads: int, head_dim: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        width = num_heads * head_dim
        self.num_heads = num_heads
        self.dtype = dtype
        self.to_q = layers.linear(width, width, ("embed", "heads"), rngs=rngs, dtype=dtype)
        self.to_k = layers.linear(width, width, ("embed", "heads"), rngs=rngs, dtype=dtype)
        self.to_v = layers.linear(width, width, ("embed", "heads"), rngs=rngs, dtype=dtype)
        self.to_out = layers.linear(width, width, ("heads", "embed"), rngs=rngs, dtype=dtype)
        self.norm_q = layers.layer_norm(head_dim, _QK_NORM_EPSILON, "head_dim", rngs=rngs)
        self.norm_k = layers.layer_norm(head_dim, _QK_NORM_EPSILON, "head_dim", rngs=rngs)

    def __call__(
        self, x: Float[Array, "b n d"], rope: tuple[Float[Array, "n head_dim"], Float[Array, "n head_dim"]] | None
    ) -> Float[Array, "b n d"]:
        """Attends over all tokens.

        Args:
            x: Tokens.
            rope: Cosines and sines for every token (1 and 0 where a token has no place), or None for no rotation.
        """
        q, k, v = (
            project(x).reshape(*x.shape[:2], self.num_heads, -1) for project in (self.to_q, self.to_k, self.to_v)
        )
        q, k = self.norm_q(q), self.norm_k(k)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        out = dot_product_attention(q.astype(self.dtype), k.astype(self.dtype), v)
        return self.to_out(out.reshape(x.shape))

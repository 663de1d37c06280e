"""Joint self-attention of CogVideoX over text and video tokens."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.errors import UserError
from sr_jax.models import attention_kernels, layers
from sr_jax.parallel import activations
from sr_jax.parallel.activations import constrain

_QK_NORM_EPSILON = 1e-6


def dot_product_attention(
    q: Float[Array, "b n heads head_dim"],
    k: Float[Array, "b m heads head_dim"],
    v: Float[Array, "b m heads head_dim"],
    *,
    num_keys: int | None = None,
) -> Float[Array, "b n heads head_dim"]:
    """Full attention, scaled by `head_dim ** -0.5`, with the softmax in float32.

    The kernel follows the platform that is compiled for (see `attention_kernels`). On a mesh, every device has some of
    the samples, heads and queries, and gathers all keys and values of those samples and heads over the `context` axis.
    An all-to-all of tokens for heads would move less, but only where the heads that `tensor` leaves are a multiple of
    `context`, which the 30 heads of CogVideoX-2B seldom are; the gradient of the gather is a reduce-scatter.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        num_keys: How many of the keys are no padding, which comes last; all when None.

    Raises:
        UserError: If the mesh's `tensor` axis does not divide the heads.
    """
    num_keys = k.shape[1] if num_keys is None else num_keys

    def attend(q: Array, k: Array, v: Array) -> Array:
        if activations.ways("tokens") > 1:
            k, v = (jax.lax.all_gather(x, "context", axis=1, tiled=True) for x in (k, v))
        return attention_kernels.choose(platform, q, k)(q, k, v, num_keys)

    platform = activations.platform()
    if activations.current_mesh() is None:
        return attend(q, k, v)
    if q.shape[2] % activations.ways("heads"):
        raise UserError(
            f"config.mesh.tensor is {activations.ways('heads')}: it must divide the {q.shape[2]} attention heads"
        )
    where = activations.spec("batch", "tokens", "heads")
    return jax.shard_map(attend, in_specs=where, out_specs=where, check_vma=False)(q, k, v)


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
        self,
        x: Float[Array, "b n d"],
        rope: tuple[Float[Array, "n head_dim"], Float[Array, "n head_dim"]] | None,
        num_tokens: int | None = None,
    ) -> Float[Array, "b n d"]:
        """Attends over all tokens.

        Args:
            x: Tokens.
            rope: Cosines and sines for every token (1 and 0 where a token has no place), or None for no rotation.
            num_tokens: How many of the tokens are no padding, which comes last; all when None.
        """
        x = constrain(x, "batch", "tokens", None)
        q, k, v = (
            constrain(project(x), "batch", "tokens", "heads").reshape(*x.shape[:2], self.num_heads, -1)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        q, k = self.norm_q(q), self.norm_k(k)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        out = dot_product_attention(q.astype(self.dtype), k.astype(self.dtype), v, num_keys=num_tokens)
        return constrain(self.to_out(out.reshape(x.shape)), "batch", "stream", None)

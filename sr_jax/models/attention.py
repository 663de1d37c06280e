"""Joint self-attention of CogVideoX over text and video tokens."""

import jax
import jax.numpy as jnp
import numpy as np
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
    the samples, heads and tokens. Over the `context` axis they exchange tokens for heads where that sends less than
    gathering the keys and values of all tokens (see `exchanges_heads`).

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
        ways = activations.ways("tokens")
        exchange = exchanges_heads(q.shape[2], q.shape[1], k.shape[1], ways)
        if exchange:
            q, k, v = (jax.lax.all_to_all(x, "context", split_axis=2, concat_axis=1, tiled=True) for x in (q, k, v))
        elif ways > 1:
            k, v = (jax.lax.all_gather(x, "context", axis=1, tiled=True) for x in (k, v))
        out = attention_kernels.choose(platform, q, k)(q, k, v, num_keys)
        return jax.lax.all_to_all(out, "context", split_axis=1, concat_axis=2, tiled=True) if exchange else out

    platform = activations.platform()
    if activations.current_mesh() is None:
        return attend(q, k, v)
    if q.shape[2] % activations.ways("heads"):
        raise UserError(
            f"config.mesh.tensor is {activations.ways('heads')}: it must divide the {q.shape[2]} attention heads"
        )
    where = activations.spec("batch", "tokens", "heads")
    return jax.shard_map(attend, in_specs=where, out_specs=where, check_vma=False)(q, k, v)


def exchanges_heads(num_heads: int, num_queries: int, num_keys: int, ways: int) -> bool:
    """Whether devices that share a sequence do best to give each other tokens for heads (DeepSpeed's "Ulysses").

    Each then has all tokens of its share of the heads. Of four exchanges, of queries, keys, values and outputs, every
    device sends `(ways - 1) / ways`; of the keys and values, which it would gather else, `ways - 1` times its own.
    Backwards it is the same with the gradients. So the exchange sends less, `2 / ways` of it for as many keys as
    queries, wherever more than two devices share a sequence; heads it needs a multiple of `ways`.

    Args:
        num_heads: Of one device.
        num_queries: Of one device.
        num_keys: Of one device.
        ways: Devices that share a sequence.
    """
    return num_heads % ways == 0 and num_queries + num_keys < ways * num_keys


def rotate(
    x: Float[Array, "b n heads head_dim"], cos: Float[Array, "n head_dim"], sin: Float[Array, "n head_dim"]
) -> Float[Array, "b n heads head_dim"]:
    """Turns the channel pairs `(2i, 2i + 1)` of every head by the rotary angles (diffusers: `apply_rotary_emb`)."""
    swap = swapped_by_product if activations.platform() == "tpu" else swapped_by_slices
    return x * cos[:, None, :] + swap(x) * sin[:, None, :]


def swapped_by_slices(x: Float[Array, "*rest head_dim"]) -> Float[Array, "*rest head_dim"]:
    """Every channel pair `(a, b)` as `(-b, a)`, which a CPU or GPU does while it reads the values."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([-odd, even], axis=-1).reshape(x.shape)


def swapped_by_product(x: Float[Array, "*rest head_dim"]) -> Float[Array, "*rest head_dim"]:
    """The same as a product with a matrix of ones, minus ones and zeros, which is exact.

    A TPU lays out pairs in memory of their own, and again for their gradient: at 5B an attention layer, forwards, again
    and backwards, moves 24 GB with the product and 65 GB without. The product is a thousandth of a block's.
    """
    channels = np.arange(x.shape[-1])
    matrix = np.zeros((x.shape[-1], x.shape[-1]), np.float32)
    matrix[channels, channels ^ 1] = np.where(channels % 2, -1.0, 1.0)
    return jnp.matmul(x, jnp.asarray(matrix, x.dtype), precision=jax.lax.Precision.HIGHEST)


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

"""Kernels of full attention on one device: all take `[B, N, heads, head_dim]` and scale by `head_dim ** -0.5`.

The softmax is float32 in all of them. Keys from `num_keys` on are padding and get no weight.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask
from jaxtyping import Array, Float

SAVED = "attention"
"""Name of what a backward pass needs to not run the kernel again (see `models.remat`)."""

# Of the logits in memory at once. A CPU's are computed, exponentiated and summed faster than they could be read from
# its memory again: half the time of all at once, forwards and backwards, with 1,090 tokens of 48 heads.
_MAX_LOGITS_BYTES = {"cpu": 2**24, "gpu": 2**28}
_MAX_DQ_BYTES = 10 * 2**30
_LANES = 128
_QUERY_BLOCKS = range(4 * _LANES, 6 * _LANES + 1, _LANES)
# Keys of one matrix product, at most: the backward pass holds more of them at a time than the forward pass.
_FORWARD_KEYS, _BACKWARD_KEYS = 8 * _LANES, 4 * _LANES
# A kernel may have 16 MiB of a v5e's or v5p's fast memory. The fused one takes 4 KiB for each of these keys, of two
# bytes a value, and nearly as much for each query of its block: 14 MiB at most.
_MOST_KEYS = 21 * _LANES
_FLASH_TYPES = (jnp.bfloat16, jnp.float16)

Query = Float[Array, "b n heads head_dim"]
Key = Float[Array, "b m heads head_dim"]


def choose(
    platform: str, q: jax.Array | jax.ShapeDtypeStruct, k: jax.Array | jax.ShapeDtypeStruct
) -> Callable[[Array, Array, Array, int], Array]:
    """The kernel for these shapes on a platform: "tpu", "gpu", or any other.

    GPUs run cuDNN's on half-precision types, the only ones it takes, TPUs splash attention. XLA's is for the rest, in
    chunks where all logits at once would be large.
    """
    if platform == "tpu":
        return splash_attention
    if platform == "gpu" and q.dtype in _FLASH_TYPES:
        return cudnn_attention
    batch, n, heads, _ = q.shape
    most = _MAX_LOGITS_BYTES[platform]
    if 4 * batch * heads * n * k.shape[1] <= most:
        return xla_attention
    return functools.partial(chunked_attention, max_logits_bytes=most)


def xla_attention(q: Query, k: Key, v: Key, num_keys: int) -> Query:
    """All logits at once.

    Heads are moved to the front first: XLA's CPU matrix product is a tenth of a training step faster so than with
    `jax.nn.dot_product_attention`.
    """
    q, k, v = (x.swapaxes(1, 2) for x in (q * q.shape[-1] ** -0.5, k, v))
    return checkpoint_name(_weighted_sum(q, k, v, num_keys).swapaxes(1, 2), SAVED)


def chunked_attention(q: Query, k: Key, v: Key, num_keys: int, max_logits_bytes: int) -> Query:
    """A few heads at a time, or a few queries of one, so that the logits in memory at once are bounded.

    Backwards the logits of a chunk are computed again.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        num_keys: Keys that are no padding.
        max_logits_bytes: The bound; at least one query of one head is taken at a time.
    """
    batch, n, heads, head_dim = q.shape
    row = 4 * k.shape[1]
    group = _largest_divisor(batch * heads, max_logits_bytes // (row * n))
    chunk = min(n, max(1, max_logits_bytes // (row * group)))

    @jax.checkpoint
    def of_chunk(chunk: Array, k_sum: Array, v_sum: Array) -> Array:
        return _weighted_sum(chunk, k_sum.astype(k.dtype), v_sum.astype(v.dtype), num_keys)

    def of_group(group: tuple[Array, Array, Array]) -> Array:
        queries, keys, values = group
        # Float32 outside the scan, so that the gradients of keys and values are summed over the chunks in float32.
        k_sum, v_sum = keys.astype(jnp.float32), values.astype(jnp.float32)
        chunks = _pad(queries, chunk).reshape(len(queries), -1, chunk, head_dim).swapaxes(0, 1)
        out = jax.lax.map(lambda chunk: of_chunk(chunk, k_sum, v_sum), chunks)
        return out.swapaxes(0, 1).reshape(len(queries), -1, head_dim)[:, :n]

    groups = [x.swapaxes(1, 2).reshape(-1, group, x.shape[1], head_dim) for x in (q * head_dim**-0.5, k, v)]
    out = jax.lax.map(of_group, tuple(groups)).reshape(batch, heads, n, head_dim)
    return checkpoint_name(out.swapaxes(1, 2), SAVED)


def _weighted_sum(
    q: Float[Array, "*heads n d"], k: Float[Array, "*heads m d"], v: Float[Array, "*heads m d"], num_keys: int
) -> Float[Array, "*heads n d"]:
    """Attention by its formula, with queries that are scaled already."""
    logits = jnp.einsum("...nd,...md->...nm", q, k, preferred_element_type=jnp.float32)
    if num_keys < k.shape[-2]:
        logits = jnp.where(jnp.arange(k.shape[-2]) < num_keys, logits, -jnp.inf)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("...nm,...md->...nd", weights, v)


def cudnn_attention(q: Query, k: Key, v: Key, num_keys: int) -> Query:
    """Flash attention by cuDNN."""
    lengths = None if num_keys == k.shape[1] else jnp.full((len(k),), num_keys, jnp.int32)
    return jax.nn.dot_product_attention(q, k, v, key_value_seq_lengths=lengths, implementation="cudnn")


def splash_attention(
    q: Query, k: Key, v: Key, num_keys: int, *, blocks: splash.BlockSizes | None = None, interpret: bool = False
) -> Query:
    """Splash attention, the TPU's flash attention.

    Queries and keys are padded to whole blocks. Every query belongs to segment 1, keys to segment 1 or, when padding,
    to segment 0: attention does not cross segments.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        num_keys: Keys that are no padding.
        blocks: How queries and keys are cut, and what computes their gradients; `splash_blocks` when None.
        interpret: Whether to run without a TPU, for tests.
    """
    n, scale = q.shape[1], q.shape[-1] ** -0.5
    blocks = splash_blocks(q, k) if blocks is None else blocks
    q, k, v = _pad(q * scale, blocks.block_q), _pad(k, blocks.block_kv), _pad(v, blocks.block_kv)
    segments = None
    if num_keys < k.shape[1]:
        keys = (jnp.arange(k.shape[1]) < num_keys).astype(jnp.int32)
        segments = splash.SegmentIds(jnp.ones(q.shape[1], jnp.int32), keys)
    kernel = splash.make_splash_mha_single_device(
        splash_mask.MultiHeadMask([splash_mask.FullMask((q.shape[1], k.shape[1]))] * q.shape[2]),
        block_sizes=blocks,
        residual_checkpoint_name=SAVED,
        interpret=interpret,
    )
    attend = jax.vmap(functools.partial(kernel, segment_ids=segments))
    return attend(*(x.swapaxes(1, 2) for x in (q, k, v))).swapaxes(1, 2)[:, :n]


def splash_blocks(q: jax.Array | jax.ShapeDtypeStruct, k: jax.Array | jax.ShapeDtypeStruct) -> splash.BlockSizes:
    """How splash attention cuts these queries and keys, and which of its backward kernels runs.

    One kernel for all three gradients takes five matrix products; two kernels, one for queries and one for keys and
    values, take seven, because both compute the weights again. The one kernel writes a partial sum of the queries'
    gradient, in their type, for every block of keys: it is taken where these fit into `_MAX_DQ_BYTES`, which is what a
    clip of CogVideoX1.5 needs on a device of its own (45,106 tokens: 8.8 GiB of a v5p's 95; the 17,776 of CogVideoX
    take 1.4 GiB). Blocks of many keys make few of them.

    Queries and keys come with their tokens along a row: a TPU fills rows of 64 channels up to 128, and what is before,
    the norm of a head's channels and the rotation, goes faster so. At 5B an attention layer moves 18 GB instead of 24.
    """
    block_q, block_kv = query_block(q.shape[1]), key_block(k.shape[1], q.dtype.itemsize)
    forward, backward = (_part(block_kv, most) for most in (_FORWARD_KEYS, _BACKWARD_KEYS))
    fused = dq_bytes(q, k, block_q, block_kv) <= _MAX_DQ_BYTES
    return splash.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_kv_compute=forward,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_kv_dkv_compute=backward,
        block_q_dq=None if fused else block_q,
        block_kv_dq=None if fused else forward,
        use_fused_bwd_kernel=fused,
        q_layout=splash.QKVLayout.SEQ_MINOR,
        k_layout=splash.QKVLayout.SEQ_MINOR,
    )


def query_block(length: int) -> int:
    """The block that pads so many queries least; of those, the largest."""
    if length <= _QUERY_BLOCKS[0]:
        return _round_up(length, _LANES)
    return min(_QUERY_BLOCKS, key=lambda block: (-length % block, -block))


def key_block(length: int, itemsize: int = 2) -> int:
    """The largest block of keys that pads so many of them by at most a fortieth, or else the one that pads them least.

    Args:
        length: Keys.
        itemsize: Bytes of a value; a block of wider ones holds fewer.
    """
    if length <= _BACKWARD_KEYS:
        return _round_up(length, _LANES)
    most = 2 * _MOST_KEYS // itemsize
    blocks = [block for block in range(_BACKWARD_KEYS, most + 1, _LANES) if _part(block, _BACKWARD_KEYS) >= 3 * _LANES]
    good = [block for block in blocks if -length % block <= length / 40]
    return max(good) if good else min(blocks, key=lambda block: (-length % block, -block))


def _largest_divisor(number: int, most: int) -> int:
    """Of a number, at most so large; 1 at least."""
    return max(divisor for divisor in range(1, max(1, most) + 1) if number % divisor == 0)


def _part(block: int, most: int) -> int:
    """The most lanes, at most so many, that divide a block."""
    return max(part for part in range(_LANES, most + 1, _LANES) if block % part == 0)


def dq_bytes(
    q: jax.Array | jax.ShapeDtypeStruct, k: jax.Array | jax.ShapeDtypeStruct, block_q: int, block_kv: int
) -> int:
    """Bytes of the partial sums of the queries' gradient, of all samples, in rows of whole lanes."""
    batch, n, heads, head_dim = q.shape
    row = _round_up(head_dim, _LANES) * q.dtype.itemsize
    return math.ceil(k.shape[1] / block_kv) * batch * heads * _round_up(n, block_q) * row


def _round_up(length: int, multiple: int) -> int:
    return length + -length % multiple


def _pad(x: Float[Array, "b n *rest"], multiple: int) -> Float[Array, "b padded *rest"]:
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % multiple), *[(0, 0)] * (x.ndim - 2)))

"""Every attention kernel against one reference in float64, forwards and backwards, at lengths that fill no block."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash

from sr_jax.errors import UserError
from sr_jax.models import attention
from sr_jax.models import attention_kernels as kernels
from sr_jax.models.attention import dot_product_attention, exchanges_heads
from sr_jax.parallel.mesh import make_mesh, on_mesh, replicated

KERNELS = {
    "xla": kernels.xla_attention,
    # 5 of a head's queries at a time, with up to 130 keys.
    "chunked_queries": functools.partial(kernels.chunked_attention, max_logits_bytes=4 * 130 * 5),
    # As many of the 2 x 3 heads as fit: 1, 2 or 6.
    "chunked_heads": functools.partial(kernels.chunked_attention, max_logits_bytes=4 * 130 * 130 * 2),
    "splash": functools.partial(kernels.splash_attention, interpret=True),
}
# Queries, keys, and how many of the keys are no padding. Splash's blocks are multiples of 128.
LENGTHS = [(37, 37, 37), (130, 130, 130), (37, 130, 101)]
TOLERANCES = {jnp.float32: 2e-5, jnp.bfloat16: 0.03}


def _inputs(n, m, heads=3, head_dim=16):
    rng = np.random.default_rng(n + m)
    shapes = [(2, length, heads, head_dim) for length in (n, m, m, n)]
    return [rng.standard_normal(shape) for shape in shapes]


def _reference(q, k, v, weights, num_keys):
    """Output, and the gradients of its product with `weights`, in float64 by the formulas."""
    logits = np.einsum("bnhd,bmhd->bhnm", q, k[:, :num_keys]) * q.shape[-1] ** -0.5
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    out = np.einsum("bhnm,bmhd->bnhd", p, v[:, :num_keys])
    dp = np.einsum("bnhd,bmhd->bhnm", weights, v[:, :num_keys])
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * q.shape[-1] ** -0.5
    padding = ((0, 0), (0, k.shape[1] - num_keys), (0, 0), (0, 0))
    dk = np.pad(np.einsum("bhnm,bnhd->bmhd", ds, q), padding)
    dv = np.pad(np.einsum("bhnm,bnhd->bmhd", p, weights), padding)
    return out, np.einsum("bhnm,bmhd->bnhd", ds, k[:, :num_keys]), dk, dv


def _with_gradients(attend, q, k, v, weights, **jit_options):
    def product(q, k, v):
        out = attend(q, k, v)
        return jnp.sum(out.astype(jnp.float32) * weights.astype(jnp.float32)), out

    gradients, out = jax.jit(jax.grad(product, argnums=(0, 1, 2), has_aux=True), **jit_options)(q, k, v)
    return out, *gradients


def _assert_close(got, expected, dtype):
    for name, a, b in zip(("out", "dq", "dk", "dv"), got, expected, strict=True):
        assert a.dtype == dtype
        error = np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)
        assert error < TOLERANCES[dtype], f"{name}: {error}"


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_matches_the_formulas(kernel, lengths, dtype):
    n, m, num_keys = lengths
    arrays = _inputs(n, m)
    rounded = [np.asarray(jnp.asarray(x, dtype), np.float64) for x in arrays]
    got = _with_gradients(lambda q, k, v: KERNELS[kernel](q, k, v, num_keys), *(jnp.asarray(x, dtype) for x in arrays))
    _assert_close(got, _reference(*rounded, num_keys), dtype)


def test_the_softmax_is_float32_under_bfloat16():
    q, k, v = (jax.random.normal(key, (1, 64, 1, 16)) * 4 for key in jax.random.split(jax.random.key(0), 3))
    q, k, v = (x.astype(jnp.bfloat16) for x in (q, k, v))
    exact = dot_product_attention(*(x.astype(jnp.float32) for x in (q, k, v)))
    assert np.abs(dot_product_attention(q, k, v).astype(jnp.float32) - exact).max() < 0.1


def test_chunks_bound_the_memory():
    q = jax.ShapeDtypeStruct((1, 2048, 2, 16), jnp.float32)

    def temporaries(kernel):
        def loss(q, k, v):
            return jnp.sum(kernel(q, k, v, 2048) ** 2)

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(q, q, q).compile().memory_analysis().temp_size_in_bytes

    logits = 4 * 2 * 2048**2
    assert temporaries(kernels.xla_attention) > logits
    for parts in (2, 16):
        chunked = functools.partial(kernels.chunked_attention, max_logits_bytes=logits // parts)
        # Their exponentials and gradients are as large, and inputs and outputs a sixteenth.
        assert temporaries(chunked) < logits * (3 / parts + 0.25)


@pytest.mark.parametrize(
    ("platform", "length", "dtype", "expected"),
    [
        ("tpu", 17776, jnp.bfloat16, kernels.splash_attention),
        ("gpu", 17776, jnp.bfloat16, kernels.cudnn_attention),
        ("gpu", 17776, jnp.float32, kernels.chunked_attention),
        # Logits of 218 MiB.
        ("gpu", 1090, jnp.float32, kernels.xla_attention),
        ("cpu", 1090, jnp.float32, kernels.chunked_attention),
        ("cpu", 17776, jnp.bfloat16, kernels.chunked_attention),
        ("cpu", 100, jnp.bfloat16, kernels.xla_attention),
    ],
)
def test_the_kernel_follows_platform_and_size(platform, length, dtype, expected):
    q = jax.ShapeDtypeStruct((1, length, 48, 64), dtype)
    chosen = kernels.choose(platform, q, q)
    assert getattr(chosen, "func", chosen) is expected


@pytest.mark.parametrize(
    ("length", "block"), [(1, 128), (300, 384), (512, 512), (4444, 640), (17776, 640), (45106, 768)]
)
def test_blocks_of_queries_pad_little(length, block):
    assert kernels.query_block(length) == block
    assert -length % block < max(128, 0.01 * length)


@pytest.mark.parametrize(
    ("length", "itemsize", "block"),
    [(1, 2, 128), (300, 2, 384), (512, 4, 512), (1090, 2, 1152), (4444, 2, 2304), (17776, 2, 2560), (17776, 4, 512)],
)
def test_blocks_of_keys_are_large_and_pad_little(length, itemsize, block):
    assert kernels.key_block(length, itemsize) == block
    assert block * itemsize <= 2 * 2688
    assert -length % block < max(128, 0.06 * length)


@pytest.mark.parametrize(
    ("shape", "dtype", "partial_sums", "fused"),
    [
        # CogVideoX, and 1.5, on a chip of their own; then one of 4 devices with a quarter of the heads.
        ((1, 17776, 48, 64), jnp.bfloat16, 7, True),
        ((1, 45106, 48, 64), jnp.bfloat16, 17, True),
        ((1, 17776, 12, 64), jnp.bfloat16, 7, True),
        # 8.8 GiB twice, as two clips or as float32 (and more sums of it) is too much.
        ((2, 45106, 48, 64), jnp.bfloat16, 17, False),
        ((1, 45106, 48, 64), jnp.float32, 40, False),
    ],
)
def test_the_fused_backward_kernel_runs_where_its_partial_sums_fit(shape, dtype, partial_sums, fused):
    x = jax.ShapeDtypeStruct(shape, dtype)
    blocks = kernels.splash_blocks(x, x)
    assert blocks.use_fused_bwd_kernel is fused
    assert -(-shape[1] // blocks.block_kv_dkv) == partial_sums
    # Rows of 64 channels lie in 128 lanes.
    queries = -(-shape[1] // blocks.block_q_dkv) * blocks.block_q_dkv
    assert (partial_sums * shape[0] * shape[2] * queries * 128 * x.dtype.itemsize <= 10 * 2**30) is fused
    for block, parts in (("block_kv", "block_kv_compute"), ("block_kv_dkv", "block_kv_dkv_compute")):
        assert getattr(blocks, block) % getattr(blocks, parts) == 0


# Relative errors that were measured: 4.7e-7 in float32 of all gradients by either kernel; in bfloat16 2.4e-3 of all but
# the fused kernel's gradient of the queries, which is rounded once more: 3.0e-3.
GRADIENT_ERRORS = {
    (jnp.float32, "two"): 8e-7,
    (jnp.float32, "fused"): 8e-7,
    (jnp.bfloat16, "two"): 2.7e-3,
    (jnp.bfloat16, "fused"): 3.4e-3,
}


@pytest.mark.parametrize(("dtype", "kernel"), GRADIENT_ERRORS)
def test_the_gradient_error_of_both_backward_kernels_of_splash(dtype, kernel):
    n, num_keys, fused = 384, 381, kernel == "fused"
    blocks = splash.BlockSizes(
        block_q=128, block_kv=256, block_kv_compute=128, block_q_dkv=128, block_kv_dkv=256, block_kv_dkv_compute=128,
        block_q_dq=None if fused else 128, block_kv_dq=None if fused else 128, use_fused_bwd_kernel=fused,
        q_layout=splash.QKVLayout.SEQ_MINOR, k_layout=splash.QKVLayout.SEQ_MINOR,
    )  # fmt: skip
    arrays = [jnp.asarray(x[:1], dtype) for x in _inputs(n, n, heads=1, head_dim=64)]
    attend = functools.partial(kernels.splash_attention, blocks=blocks, interpret=True)
    got = _with_gradients(lambda q, k, v: attend(q, k, v, num_keys), *arrays)
    expected = _reference(*(np.asarray(x, np.float64) for x in arrays), num_keys)
    for name, a, b in zip(("out", "dq", "dk", "dv"), got, expected, strict=True):
        error = np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)
        assert error < GRADIENT_ERRORS[dtype, "two" if name != "dq" else kernel], f"{name}: {error}"


@pytest.mark.parametrize(
    ("num_heads", "num_queries", "num_keys", "ways", "exchanges"),
    [
        (48, 4444, 4444, 4, True),
        (48, 8888, 8888, 2, False),
        (30, 4444, 4444, 4, False),
        (6, 2222, 2222, 8, False),
        # Few keys are gathered at less cost.
        (48, 4444, 64, 4, False),
    ],
)
def test_tokens_are_exchanged_for_heads_where_that_sends_less(num_heads, num_queries, num_keys, ways, exchanges):
    assert exchanges_heads(num_heads, num_queries, num_keys, ways) is exchanges
    if num_heads % ways == 0:
        exchange = (2 * num_queries + 2 * num_keys) * (ways - 1) / ways
        assert (exchange < 2 * num_keys * (ways - 1)) is exchanges


@pytest.mark.parametrize(
    ("sizes", "heads", "collective"),
    [
        ({"tensor": 4}, 4, None),
        ({"context": 2}, 4, "all-gather"),
        ({"context": 4}, 6, "all-gather"),
        ({"context": 4}, 4, "all-to-all"),
        ({"context": 4, "tensor": 2}, 8, "all-to-all"),
        ({"fsdp": 2, "context": 4}, 8, "all-to-all"),
        ({"fsdp": 2, "context": 2, "tensor": 2}, 4, "all-gather"),
    ],
)
def test_on_a_mesh_it_is_the_same(sizes, heads, collective):
    mesh = make_mesh(sizes, jax.devices()[: int(np.prod(list(sizes.values())))])
    arrays = _inputs(40, 40, heads=heads)
    attend = on_mesh(mesh, functools.partial(dot_product_attention, num_keys=37))
    inputs = [jnp.asarray(x, jnp.float32) for x in arrays]
    got = _with_gradients(attend, *inputs, in_shardings=replicated(mesh))
    assert got[0].sharding.num_devices == mesh.size and not got[0].sharding.is_fully_replicated
    _assert_close(got, _reference(*arrays, 37), jnp.float32)
    jaxpr = str(jax.make_jaxpr(attend)(*inputs[:3]))
    assert {name for name in ("all-gather", "all-to-all") if name.replace("-", "_") in jaxpr} == {collective} - {None}


def test_heads_that_the_mesh_does_not_divide():
    mesh = make_mesh({"tensor": 8})
    q = jnp.zeros((1, 8, 30, 4))
    with pytest.raises(UserError, match=r"config\.mesh\.tensor is 8: it must divide the 30 attention heads"):
        jax.jit(on_mesh(mesh, dot_product_attention))(q, q, q)


@pytest.mark.parametrize("swap", [attention.swapped_by_slices, attention.swapped_by_product])
@pytest.mark.parametrize("head_dim", [2, 64])
def test_channel_pairs_are_swapped_exactly(swap, head_dim):
    x, weights = np.random.default_rng(head_dim).standard_normal((2, 2, 5, 3, head_dim)).astype(np.float32)
    swapped, back = jax.vjp(jax.jit(swap), jnp.asarray(x))
    expected, gradient = np.empty_like(x), np.empty_like(x)
    expected[..., 0::2], expected[..., 1::2] = -x[..., 1::2], x[..., 0::2]
    gradient[..., 0::2], gradient[..., 1::2] = weights[..., 1::2], -weights[..., 0::2]
    np.testing.assert_array_equal(swapped, expected)
    np.testing.assert_array_equal(*back(jnp.asarray(weights)), gradient)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_rotation_multiplies_complex_numbers(platform, monkeypatch):
    monkeypatch.setattr("sr_jax.parallel.activations.platform", lambda: platform)
    rng = np.random.default_rng(0)
    x, angles = rng.standard_normal((2, 7, 3, 8)), rng.standard_normal((7, 4))
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None, :]
    cos, sin = (jnp.asarray(np.repeat(part(angles), 2, axis=1), jnp.float32) for part in (np.cos, np.sin))
    got = np.asarray(attention.rotate(jnp.asarray(x, jnp.float32), cos, sin))
    np.testing.assert_allclose(got[..., 0::2] + 1j * got[..., 1::2], turned, atol=1e-6)

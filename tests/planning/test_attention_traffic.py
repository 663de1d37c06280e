"""What attention sends over the context axis: counted in traced gradients, against the sums by hand."""

import functools

import jax
import jax.numpy as jnp
import pytest

from sr_jax.models.attention import dot_product_attention
from sr_jax.models.remat import rematerialise
from sr_jax.parallel.mesh import make_mesh, on_mesh
from sr_jax.planning.attention_traffic import AttentionTraffic, attention_traffic

_LAYERS, _WAYS, _TOKENS, _HEAD_DIM = 3, 4, 40, 16


def traced_gradient(num_heads, policy):
    """Of three scanned layers of attention, whose outputs the backward pass needs."""

    def layer(x, weight):
        q = x * weight
        return x + jnp.tanh(dot_product_attention(q, q, x))

    def loss(x, weights):
        run = rematerialise(layer, policy)
        return jnp.sum(jax.lax.scan(lambda x, weight: (run(x, weight), None), x, weights)[0])

    x = jax.ShapeDtypeStruct((1, _TOKENS, num_heads, _HEAD_DIM), jnp.float32)
    weights = jax.ShapeDtypeStruct((_LAYERS,), jnp.float32)
    mesh = make_mesh({"context": _WAYS}, jax.devices()[:_WAYS])
    return jax.jit(jax.grad(on_mesh(mesh, loss), argnums=(0, 1))).trace(x, weights).jaxpr


@pytest.mark.parametrize(("policy", "passes"), [("none", 2), ("save_attention", 3)])
@pytest.mark.parametrize("num_heads", [4, 6])
def test_both_ways_by_hand(policy, passes, num_heads):
    own = _TOKENS // _WAYS * num_heads * _HEAD_DIM * 4
    # Of queries, keys, values and outputs three quarters go away; or keys and values go to three others. The gradients
    # are as much, and so is what is sent again where only the results of attention are kept.
    exchange, gather = passes * _LAYERS * 4 * own * 3 // 4, passes * _LAYERS * 2 * own * 3
    sent = exchange if num_heads == 4 else gather
    found = attention_traffic(traced_gradient(num_heads, policy), _WAYS)
    assert found == AttentionTraffic(sent=sent, exchange=exchange, gather=gather)


def test_where_no_devices_share_a_sequence_there_is_none():
    assert attention_traffic(jax.make_jaxpr(functools.partial(jnp.sum, axis=0))(jnp.ones(3)), 1) is None

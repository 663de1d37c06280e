"""What the remat policies keep, and that they change no result."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.errors import UserError
from sr_jax.models.attention_kernels import splash_attention, xla_attention
from sr_jax.models.remat import POLICIES, rematerialise
from sr_jax.planning.operations import count_flops
from tests.models.tiny_transformers import Predictor

CONFIG = CogVideoXConfig(
    num_attention_heads=2, attention_head_dim=16, num_layers=6, in_channels=4, out_channels=4, time_embed_dim=8,
    text_embed_dim=12, use_rotary_positional_embeddings=True,
)  # fmt: skip


def make_inputs():
    return (
        jax.random.normal(jax.random.key(0), (1, 4, 8, 8, 4)),
        jax.random.normal(jax.random.key(1), (1, 8, 12)),
        jnp.asarray([3]),
    )


def compile_gradient(remat):
    functional = Predictor(CONFIG, remat=remat)

    def loss(params, latents, text, timesteps):
        return jnp.sum(functional.apply(params, latents, text, timesteps) ** 2)

    return jax.jit(jax.grad(loss)).lower(functional.abstract_params(), *make_inputs()).compile()


@pytest.fixture(scope="module")
def compiled():
    return {name: compile_gradient(name) for name in POLICIES}


@pytest.fixture(scope="module")
def params():
    """Away from zero-initialised projections and closed gates."""
    abstract = Predictor(CONFIG).abstract_params()
    leaves, structure = jax.tree.flatten(abstract)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(structure, [jnp.asarray(0.2 * rng.standard_normal(x.shape, np.float32)) for x in leaves])


@pytest.mark.parametrize("policy", POLICIES[1:])
def test_no_policy_changes_a_gradient(compiled, params, policy):
    expected = compiled["none"](params, *make_inputs())
    for a, b in zip(jax.tree.leaves(compiled[policy](params, *make_inputs())), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)


def test_each_policy_computes_more_than_the_one_before(compiled):
    flops = [compiled[name].cost_analysis()["flops"] for name in ("none", "save_attention", "block")]
    assert flops[0] < flops[1] < flops[2]


def test_each_policy_keeps_less_than_the_one_before(compiled):
    kept = [compiled[name].memory_analysis().temp_size_in_bytes for name in ("none", "save_attention", "block")]
    assert kept[0] > kept[1] > kept[2]


def test_products_of_two_activations_are_computed_again():
    """Kept are the products with weights, and the result of attention; not the logits."""
    x, weights = jax.ShapeDtypeStruct((1, 256, 2, 64), jnp.float32), jax.ShapeDtypeStruct((64, 64), jnp.float32)

    def run(x, weights):
        return xla_attention(x @ weights, x, x, 256)

    def gradient(policy):
        loss = jax.value_and_grad(lambda x, weights: rematerialise(run, policy)(x, weights).sum())
        return count_flops(jax.jit(loss).trace(x, weights).jaxpr)

    logits, projection = 2 * 256**2 * 2 * 64, 2 * 256 * 2 * 64 * 64
    assert gradient("save_matmuls") - gradient("none") == logits
    assert gradient("save_attention") - gradient("save_matmuls") == projection


def test_what_is_kept_of_a_flash_kernel_is_enough():
    x = jax.ShapeDtypeStruct((1, 256, 2, 64), jnp.float32)

    def attend(x):
        return splash_attention(x, x, x, 256)

    def flops(function):
        return count_flops(jax.jit(function).trace(x).jaxpr)

    def gradient(policy):
        return flops(jax.value_and_grad(lambda x: rematerialise(attend, policy)(x).sum()))

    assert flops(attend) == 2 * 2 * 256**2 * 2 * 64
    assert gradient("block") - gradient("save_attention") == flops(attend)
    assert gradient("save_matmuls") == gradient("save_attention") == gradient("none")


def test_an_unknown_policy():
    with pytest.raises(UserError, match=r"config\.remat is 'some': choose one of none, save_matmuls"):
        compile_gradient("some")

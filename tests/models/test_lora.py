"""Low-rank factors beside the layers of the transformer, and merged into them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from sr_jax.backbones.cogvideox import transformer_weights as transformer
from sr_jax.conversion.rules import expected_shapes
from sr_jax.errors import UserError
from sr_jax.models.layers import linear
from sr_jax.models.lora import AdaptedFunctional, LoraConfig, LoraLinear, join, merge
from sr_jax.parallel.lazy import on_host
from sr_jax.parallel.mesh import make_mesh
from sr_jax.parallel.sharding import ShardingRules, param_shardings
from tests.comparison import relative_error
from tests.models.tiny_transformers import ROPE, Predictor, our_params, weights_of
from tests.training.helpers import assert_same_bits

ATTENTION = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out")
EVERYTHING = ("patch_embed", "time_embedding", "norm1", "norm2", "attn1", "ff", "norm_out", "proj_out")
CONFIG = LoraConfig(rank=3, alpha=2.0, targets=("attn1.to_q", "ff", "patch_embed.proj"))


@pytest.fixture(scope="module")
def module():
    return Predictor(ROPE)


@pytest.fixture(scope="module")
def params(module):
    return our_params(weights_of(expected_shapes(transformer.rules(ROPE), module.abstract_params()), seed=0), ROPE)


@pytest.fixture(scope="module")
def inputs():
    keys = jax.random.split(jax.random.key(0), 2)
    latents = jax.random.normal(keys[0], (2, 3, 4, 6, ROPE.in_channels))
    return latents, jax.random.normal(keys[1], (2, 5, ROPE.text_embed_dim)), jnp.array([3, 700])


def random_factors(adapted, seed=7):
    """Factors with no zeros, as after training; uniform, so that they have the same bits on every machine."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(-0.5, 0.5, leaf.shape), jnp.float32), adapted.abstract_params()
    )


def test_fresh_factors_change_nothing(module, params, inputs):
    config = LoraConfig(3, 2.0, EVERYTHING)
    adapted = AdaptedFunctional(module, config)
    lora = adapted.init(jax.random.key(0))
    assert_same_bits(on_host(merge(params, lora, config)), on_host(params))
    # XLA fuses the sums in another order.
    apart = jax.jit(adapted.apply)(join(params, lora), *inputs)[0]
    assert relative_error(apart, jax.jit(module.apply)(params, *inputs)) < 1e-6


def test_a_fresh_layer_computes_the_same_bits():
    x = jax.random.normal(jax.random.key(0), (2, 7, 8))
    plain = linear(8, 6, ("embed", "mlp"), rngs=nnx.Rngs(1), dtype=jnp.bfloat16)
    np.testing.assert_array_equal(LoraLinear(plain, CONFIG, nnx.Rngs(2))(x), plain(x))


def test_fresh_factors_are_those_of_peft(module):
    lora = AdaptedFunctional(module, CONFIG).init(jax.random.key(0))
    for layer, width in (("proj_in", 32), ("proj_out", 128)):
        factors = lora["transformer_blocks"]["ff"][layer]
        a = np.asarray(factors["lora_a"])
        assert a.shape == (2, width, 3)
        assert not np.array_equal(a[0], a[1])
        # Uniform within 1 / sqrt(in).
        assert 0.9 * width**-0.5 < np.abs(a).max() <= width**-0.5
        np.testing.assert_allclose(a.std(), (3 * width) ** -0.5, rtol=0.15)
        assert not np.any(factors["lora_b"])


def test_an_adapted_layer_adds_the_product_of_its_factors(module, params):
    """In closed form, with the layer's own kernel set to 0."""
    adapted = AdaptedFunctional(module, LoraConfig(3, 2.0, ("patch_embed.text_proj",)))
    lora = random_factors(adapted)
    a, b = (lora["patch_embed"]["text_proj"][name] for name in ("lora_a", "lora_b"))
    merged = merge(params, lora, LoraConfig(3, 2.0, ("patch_embed.text_proj",)))
    kernel = params["patch_embed"]["text_proj"]["kernel"]
    np.testing.assert_allclose(
        np.asarray(merged["patch_embed"]["text_proj"]["kernel"]) - kernel,
        2 / 3 * np.asarray(a) @ np.asarray(b),
        atol=1e-6,
    )


@pytest.mark.parametrize("targets", [ATTENTION, EVERYTHING, ("transformer_blocks",)])
def test_merged_computes_the_same(module, params, inputs, targets):
    config = LoraConfig(3, 2.0, targets)
    adapted = AdaptedFunctional(module, config)
    lora = random_factors(adapted)
    before = jax.tree.map(np.copy, params)
    beside = jax.jit(adapted.apply)(join(params, lora), *inputs)[0]
    merged = on_host(merge(params, lora, config))
    apply = jax.jit(module.apply)
    assert relative_error(apply(merged, *inputs), beside) < 1e-5
    assert relative_error(apply(params, *inputs), beside) > 1e-2
    assert jax.tree.structure(merged) == jax.tree.structure(params)
    assert_same_bits(params, before)


@pytest.mark.parametrize("name", ["transformer_blocks.ff.proj_in", "patch_embed.text_proj"])
def test_a_part_of_a_merged_kernel_is_made_of_parts(module, params, name):
    merged = merge(params, random_factors(AdaptedFunctional(module, LoraConfig(3, 2.0, (name,)))), CONFIG)
    kernel = functools.reduce(lambda tree, part: tree[part], [*name.split("."), "kernel"], merged)
    index = slice(3, 9), slice(1, 5)
    if len(kernel.shape) == 3:
        np.testing.assert_allclose(kernel[np.array([1, 0]), *index], np.asarray(kernel)[[1, 0], *index], rtol=1e-6)
        index = slice(1, 2), *index
    np.testing.assert_allclose(kernel[index], np.asarray(kernel)[index], rtol=1e-6)


def test_a_kernel_of_half_precision_is_merged_in_single(module, params):
    half, lora = (
        jax.tree.map(lambda leaf: np.asarray(leaf, jnp.bfloat16), tree)
        for tree in (params, random_factors(AdaptedFunctional(module, CONFIG)))
    )
    kernel = merge(half, lora, CONFIG)["transformer_blocks"]["attn1"]["to_q"]["kernel"]
    factors = lora["transformer_blocks"]["attn1"]["to_q"]
    a, b = (np.float32(factors[name]) for name in ("lora_a", "lora_b"))
    exact = np.float32(half["transformer_blocks"]["attn1"]["to_q"]["kernel"]) + CONFIG.scale * (a @ b)
    assert kernel.dtype == jnp.bfloat16 and np.asarray(kernel).dtype == jnp.bfloat16
    np.testing.assert_array_equal(kernel, exact.astype(jnp.bfloat16))


def test_merging_keeps_the_types_of_the_rest(module, params):
    lora = jax.tree.map(np.asarray, random_factors(AdaptedFunctional(module, CONFIG)))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    merged = merge(half, lora, CONFIG)
    block = merged["transformer_blocks"]
    assert block["attn1"]["to_q"]["kernel"].dtype == np.float32
    assert block["attn1"]["to_k"]["kernel"].dtype == jnp.bfloat16
    # A small product is not lost in the rounding of the kernel.
    small = merge(half, jax.tree.map(lambda leaf: leaf * 1e-2, lora), CONFIG)["transformer_blocks"]["ff"]
    assert (
        np.mean(np.asarray(small["proj_in"]["kernel"]) != half["transformer_blocks"]["ff"]["proj_in"]["kernel"]) > 0.99
    )


def test_the_targets_are_the_layers_named(module):
    lora = AdaptedFunctional(module, CONFIG).abstract_params()
    found = {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(lora)
    }
    assert found == {
        "patch_embed.proj.lora_a": (16, 3),
        "patch_embed.proj.lora_b": (3, 32),
        "transformer_blocks.attn1.to_q.lora_a": (2, 32, 3),
        "transformer_blocks.attn1.to_q.lora_b": (2, 3, 32),
        "transformer_blocks.ff.proj_in.lora_a": (2, 32, 3),
        "transformer_blocks.ff.proj_in.lora_b": (2, 3, 128),
        "transformer_blocks.ff.proj_out.lora_a": (2, 128, 3),
        "transformer_blocks.ff.proj_out.lora_b": (2, 3, 32),
    }


@pytest.mark.parametrize("targets", [("attn1.to_q", "to_w"), ("attn1.norm_q",), ("to",), ()])
def test_unknown_targets_are_refused_with_the_choices(module, targets):
    with pytest.raises(UserError, match=r"targets .* names no linear layer.* transformer_blocks\.attn1\.to_q") as error:
        AdaptedFunctional(module, LoraConfig(3, 2.0, targets))
    assert "\n" not in str(error.value)
    assert ("to_w" in str(error.value)) == ("to_w" in targets)


def test_the_kernels_have_no_gradients(module, params, inputs):
    """A step costs less than one of the whole model, because what it does not need it does not compute."""
    adapted = AdaptedFunctional(module, LoraConfig(1, 1.0, ("transformer_blocks",)))

    def flops(loss, trained):
        return jax.jit(jax.grad(loss)).lower(trained).cost_analysis()["flops"]

    lora = random_factors(adapted)
    whole = flops(lambda params: jnp.sum(module.apply(params, *inputs) ** 2), params)
    factors = flops(lambda lora: jnp.sum(adapted.apply(join(params, lora), *inputs)[0] ** 2), lora)
    assert factors < 0.8 * whole


def test_factors_are_split_like_their_kernels(module):
    mesh = make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    adapted = AdaptedFunctional(module, LoraConfig(4, 4.0, ("attn1",)))
    attention = param_shardings(adapted.abstract, mesh, ShardingRules())["transformer_blocks"]["attn1"]
    specs = {(layer, name): where.spec for layer, leaf in attention.items() for name, where in leaf.items()}
    assert specs["to_q", "lora_a"] == P(None, "fsdp", None)
    assert specs["to_q", "lora_b"] == P(None, None, "tensor")
    assert specs["to_out", "lora_a"] == P(None, "tensor", None)
    assert specs["to_out", "lora_b"] == P(None, None, "fsdp")
    # The frozen kernels keep the structure and the shardings that they have without factors.
    assert param_shardings(adapted.frozen, mesh, ShardingRules()) == param_shardings(
        module.abstract, mesh, ShardingRules()
    )


def test_an_adapted_layer_computes_in_its_own_type(params, inputs):
    half = Predictor(ROPE, dtype=jnp.bfloat16)
    adapted = AdaptedFunctional(half, CONFIG)
    lora = random_factors(adapted)
    output = jax.jit(adapted.apply)(join(params, lora), *inputs)[0]
    assert output.dtype == jnp.bfloat16
    # Stored in half precision they give the same numbers, which is how released weights are kept while frozen.
    stored = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    assert relative_error(jax.jit(adapted.apply)(join(stored, lora), *inputs)[0], output) < 2e-2

"""Kernels in int8: rounding against NumPy, and networks of them against networks of the kernels they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, traverse_util
from jax.sharding import PartitionSpec as P

from sr_jax.backbones.cogvideox import transformer_weights as transformer
from sr_jax.conversion.rules import expected_shapes
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.models.int8 import Int8Functional, Int8Linear, channel_scales, int8_product, quantise, quantised
from sr_jax.models.layers import linear
from sr_jax.models.lora import AdaptedFunctional, LoraConfig, join
from sr_jax.models.remat import rematerialise
from sr_jax.parallel.lazy import on_host
from sr_jax.parallel.mesh import make_mesh, on_mesh
from sr_jax.parallel.sharding import ShardingRules, param_shardings
from sr_jax.planning.operations import count_flops
from tests.comparison import relative_error
from tests.models.tiny_transformers import ROPE, Predictor, our_params, weights_of

CONFIG = LoraConfig(3, 2.0, ("attn1", "norm1.linear"))
BLOCK_KERNELS = {
    ("norm1", "linear"): (12, 192), ("norm2", "linear"): (12, 192),
    ("attn1", "to_q"): (32, 32), ("attn1", "to_k"): (32, 32), ("attn1", "to_v"): (32, 32),
    ("attn1", "to_out"): (32, 32),
    ("ff", "proj_in"): (32, 128), ("ff", "proj_out"): (128, 32),
}  # fmt: skip


@pytest.fixture(scope="module")
def module():
    return Predictor(ROPE)


@pytest.fixture(scope="module")
def params(module):
    return our_params(weights_of(expected_shapes(transformer.rules(ROPE), module.abstract_params()), seed=0), ROPE)


@pytest.fixture(scope="module")
def integers(module, params):
    return on_host(quantised(params, Int8Functional(module).abstract_params()))


@pytest.fixture(scope="module")
def inputs():
    keys = jax.random.split(jax.random.key(0), 2)
    latents = jax.random.normal(keys[0], (2, 3, 4, 6, ROPE.in_channels))
    return latents, jax.random.normal(keys[1], (2, 5, ROPE.text_embed_dim)), jnp.array([3, 700])


def dequantised(params):
    """The parameters of the module that an `Int8Functional` is of, with the kernels that its integers stand for."""
    flat = traverse_util.flatten_dict(params)
    found = {path: leaf for path, leaf in flat.items() if path[-1] not in ("kernel_q", "kernel_scale")}
    for path, leaf in flat.items():
        if path[-1] == "kernel_q":
            found[*path[:-1], "kernel"] = np.asarray(leaf, np.float32) * np.asarray(flat[*path[:-1], "kernel_scale"])
    return traverse_util.unflatten_dict(found)


def drawn(abstract, seed, largest=1.0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: np.float32(rng.uniform(-largest, largest, leaf.shape)), abstract)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 3), (3, 5, 16), (2, 64, 7)])
@pytest.mark.parametrize("size", [1e-6, 1.0, 300.0])
def test_rounding_against_numpy(shape, size):
    kernel = (np.random.default_rng(0).standard_normal(shape) * size).astype(np.float32)
    kernel[..., 0] = 0
    scale = channel_scales(kernel)
    stored = quantise(kernel, scale)
    assert stored.dtype == np.int8 and scale.dtype == np.float32 and scale.shape == (shape[0], 1, shape[2])
    for layer in range(shape[0]):
        for channel in range(shape[2]):
            column = kernel[layer, :, channel].astype(np.float64)
            expected = np.abs(column).max() / 127 or 1.0
            assert scale[layer, 0, channel] == pytest.approx(expected, rel=1e-6)
            assert np.abs(column - stored[layer, :, channel] * expected).max() <= expected / 2 * (1 + 1e-5)
            # The largest weight is a whole step of the scale, on whichever side of 0 it is.
            assert np.abs(stored[layer, :, channel]).max() == (127 if column.any() else 0)


def test_the_kernels_of_blocks_are_integers_and_nothing_else_is(params, integers):
    flat, before = traverse_util.flatten_dict(integers), traverse_util.flatten_dict(params)
    for path, leaf in flat.items():
        if path[-1] not in ("kernel_q", "kernel_scale"):
            np.testing.assert_array_equal(leaf, before[path], err_msg=str(path))
    sizes = {path[1:-1]: leaf.shape[1:] for path, leaf in flat.items() if path[-1] == "kernel_q"}
    assert sizes == BLOCK_KERNELS
    for path in sizes:
        block = "transformer_blocks", *path
        assert flat[*block, "kernel_q"].dtype == np.int8
        assert flat[*block, "kernel_scale"].dtype == np.float32
        assert flat[*block, "kernel_scale"].shape == (2, 1, sizes[path][1])
        assert (*block, "kernel") not in flat and (*block, "bias") in flat
    whole = traverse_util.flatten_dict(dequantised(integers))
    assert whole.keys() == before.keys()
    for path, leaf in whole.items():
        step = flat.get((*path[:-1], "kernel_scale"), np.float32(0))
        assert np.all(np.abs(leaf - before[path]) <= step / 2 * (1 + 1e-5))


def test_parts_are_read_as_parts_of_the_whole(module, params, integers):
    lazily = quantised(params, Int8Functional(module).abstract_params())["transformer_blocks"]["ff"]["proj_in"]
    whole = integers["transformer_blocks"]["ff"]["proj_in"]
    for blocks in (slice(1, 2), np.array([1, 0]), slice(0, 2)):
        part = lazily["kernel_q"][blocks, 3:9, 1:5]
        np.testing.assert_array_equal(part, whole["kernel_q"][blocks, 3:9, 1:5])
        np.testing.assert_array_equal(lazily["kernel_scale"][blocks, :, 1:5], whole["kernel_scale"][blocks, :, 1:5])


def test_a_network_computes_what_the_kernels_it_stands_for_do(module, params, integers, inputs):
    """With factors beside some layers; integers are exact, so only sums are rounded."""
    ours, theirs = AdaptedFunctional(Int8Functional(module), CONFIG), AdaptedFunctional(module, CONFIG)
    factors = drawn(ours.abstract_params(), 7, 0.5)
    predict = jax.jit(theirs.apply)
    prediction = jax.jit(ours.apply)(join(integers, factors), *inputs)[0]
    assert relative_error(prediction, predict(join(dequantised(integers), factors), *inputs)[0]) < 1e-5
    # And it is another network than that of the kernels before rounding.
    assert 1e-4 < relative_error(prediction, predict(join(params, factors), *inputs)[0]) < 3e-2


class Blocks(nnx.Module):
    """`x + tanh(x W + b)`, once for each block."""

    def __init__(self, rngs, num_layers=3, width=8, dtype=jnp.float32, remat="block"):
        @nnx.split_rngs(splits=num_layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stacked(rngs):
            return linear(width, width, ("embed", "mlp"), rngs=rngs, dtype=dtype)

        self.blocks, self.remat = stacked(rngs), remat

    def __call__(self, x):
        run = rematerialise(lambda x, block: x + jnp.tanh(block(x)), self.remat)
        return nnx.scan(run, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.blocks)


def gradients_by_hand(own, factors, x, scale):
    """Of the sum of squares of what `Blocks` put out, with respect to A and B of each block, in float64."""
    kernel, bias, a, b = (
        np.asarray(leaf, np.float64) for leaf in (own["kernel"], own["bias"], factors["lora_a"], factors["lora_b"])
    )
    inputs, slopes = [np.asarray(x, np.float64)], []
    for i in range(len(kernel)):
        hidden = np.tanh(inputs[-1] @ (kernel[i] + scale * a[i] @ b[i]) + bias[i])
        slopes.append(1 - hidden**2)
        inputs.append(inputs[-1] + hidden)
    gradient, found = 2 * inputs[-1], []
    for i in reversed(range(len(kernel))):
        inner = gradient * slopes[i]
        found.insert(0, (scale * inputs[i].T @ inner @ b[i].T, scale * (inputs[i] @ a[i]).T @ inner))
        gradient = gradient + inner @ (kernel[i] + scale * a[i] @ b[i]).T
    return [np.stack(leaf) for leaf in zip(*found)]


@pytest.mark.parametrize("remat", ["none", "save_matmuls", "block"])
@pytest.mark.parametrize(("num_layers", "width", "rows"), [(3, 8, 5), (1, 5, 2)])
def test_gradients_of_factors_by_hand(remat, num_layers, width, rows):
    plain = Functional(lambda rngs: Blocks(rngs, num_layers, width, remat=remat))
    adapted = AdaptedFunctional(Int8Functional(plain), LoraConfig(2, 3.0, ("blocks",)))
    own = on_host(quantised(drawn(plain.abstract_params(), 0), Int8Functional(plain).abstract_params()))
    factors = drawn(adapted.abstract_params(), 1)
    x = np.random.default_rng(2).uniform(-1, 1, (rows, width)).astype(np.float32)
    found = jax.jit(jax.grad(lambda factors: jnp.sum(adapted.apply(join(own, factors), x) ** 2)))(factors)["blocks"]
    expected = gradients_by_hand(dequantised(own)["blocks"], factors["blocks"], x, 1.5)
    for name, by_hand in zip(("lora_a", "lora_b"), expected, strict=True):
        assert relative_error(found[name], by_hand) < 1e-5


def test_a_short_training_of_factors_loses_what_it_does_on_the_kernels_as_they_are():
    """Regression to another network's output: within 2% at every step, while most of the loss goes."""
    plain = Functional(lambda rngs: Blocks(rngs, 3, 16))
    own, other = (drawn(plain.abstract_params(), seed, 0.4) for seed in (0, 1))
    x = np.random.default_rng(2).standard_normal((64, 16)).astype(np.float32)
    wanted, optimizer = jax.jit(plain.apply)(other, x), optax.adam(0.02)

    def losses(module, own):
        adapted = AdaptedFunctional(module, LoraConfig(8, 8.0, ("blocks",)))

        def step(state, _):
            factors, moments = state
            loss, gradients = jax.value_and_grad(
                lambda factors: jnp.mean((adapted.apply(join(own, factors), x) - wanted) ** 2)
            )(factors)
            updates, moments = optimizer.update(gradients, moments)
            return (optax.apply_updates(factors, updates), moments), loss

        factors = drawn(adapted.abstract_params(), 3, 0.1)
        return np.asarray(jax.jit(lambda: jax.lax.scan(step, (factors, optimizer.init(factors)), length=60)[1])())

    integers = on_host(quantised(own, Int8Functional(plain).abstract_params()))
    ours, theirs = losses(Int8Functional(plain), integers), losses(plain, own)
    assert theirs[-1] < 0.5 * theirs[0]
    np.testing.assert_allclose(ours, theirs, rtol=0.02)
    assert np.any(np.abs(ours / theirs - 1) > 1e-5)


@pytest.mark.parametrize(("rows", "width", "channels"), [(16, 64, 32), (3, 500, 8)])
def test_half_precision_rounds_about_as_it_does_of_floats(rows, width, channels):
    """Integers are exact in bfloat16, where a kernel is rounded; but the product is rounded with and without scales."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((width, channels)).astype(np.float32)
    scale = channel_scales(kernel)
    stored = quantise(kernel, scale)
    x = jnp.asarray(rng.standard_normal((rows, width)), jnp.bfloat16)
    exact = np.asarray(x, np.float64) @ (stored * scale.astype(np.float64))
    ours = int8_product(x, stored, scale)
    assert ours.dtype == jnp.bfloat16
    of_floats = relative_error(x @ jnp.asarray(stored * scale, jnp.bfloat16), exact)
    assert relative_error(ours, exact) < 2 * of_floats < 1e-2


@pytest.mark.parametrize("remat", ["none", "save_matmuls", "block"])
def test_no_product_is_computed_twice_for_it(remat):
    plain = Functional(lambda rngs: Blocks(rngs, remat=remat))
    x = jax.ShapeDtypeStruct((5, 8), jnp.float32)

    def flops(module):
        gradient = jax.grad(lambda x, params: module.apply(params, x).sum())
        return count_flops(jax.jit(gradient).trace(x, module.abstract_params()).jaxpr)

    assert flops(Int8Functional(plain)) == flops(plain)


@pytest.mark.parametrize("remat", ["none", "block"])
def test_one_block_at_a_time_has_its_kernel_as_floats(remat):
    """What a step of more blocks holds more of: their inputs, and not their kernels once more."""

    def temporaries(num_layers):
        module = Int8Functional(Functional(lambda rngs: Blocks(rngs, num_layers, 64, remat=remat)))
        gradient = jax.jit(jax.grad(lambda x, params: module.apply(params, x).sum()))
        shapes = jax.ShapeDtypeStruct((4, 64), jnp.float32), module.abstract_params()
        return gradient.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    of_a_block = (temporaries(24) - temporaries(8)) / 16
    # An input or two of 1 KiB; its kernel as floats would be 16.
    assert of_a_block < 4 * 1024


def test_it_is_split_like_the_kernel_and_computes_the_same(module, integers, inputs):
    mesh = make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    ours = Int8Functional(module)
    where = param_shardings(ours.abstract, mesh, ShardingRules())
    before = param_shardings(module.abstract, mesh, ShardingRules())
    flat, expected = traverse_util.flatten_dict(where), traverse_util.flatten_dict(before)
    for path in BLOCK_KERNELS:
        block = "transformer_blocks", *path
        spec = expected[*block, "kernel"].spec
        assert flat[*block, "kernel_q"].spec == spec
        assert flat[*block, "kernel_scale"].spec == P(None, None, spec[2])
    assert flat["transformer_blocks", "ff", "proj_in", "kernel_q"].spec == P(None, "fsdp", "tensor")
    placed = jax.device_put(integers, where)
    assert placed["transformer_blocks"]["ff"]["proj_out"]["kernel_scale"].addressable_shards[0].data.shape == (2, 1, 16)
    # A batch of as many clips as devices along data and fsdp.
    clips = [jnp.concatenate([x, x]) for x in inputs]
    split = jax.jit(on_mesh(mesh, ours.apply))(placed, *clips)[0]
    assert relative_error(split, jax.jit(ours.apply)(integers, *clips)[0]) < 1e-5


def test_a_backbone_without_stacked_blocks_is_refused():
    module = Functional(lambda rngs: linear(4, 4, ("embed", "mlp"), rngs=rngs, dtype=jnp.float32))
    with pytest.raises(UserError, match=r"config\.lora\.base_type is 'int8', which is for .* stacked over blocks"):
        Int8Functional(module)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(module, params, value):
    damaged = jax.tree.map(np.copy, on_host(params))
    damaged["transformer_blocks"]["ff"]["proj_in"]["kernel"][1, 2, 3] = value
    lazily = quantised(damaged, Int8Functional(module).abstract_params())
    with pytest.raises(UserError, match=r"weights of transformer_blocks\.ff\.proj_in are not finite"):
        on_host(lazily)


def test_a_layer_without_bias():
    layer = Int8Linear(linear(3, 2, ("embed", "mlp"), rngs=nnx.Rngs(0), dtype=jnp.float32, use_bias=False))
    layer.kernel_q = nnx.Param(jnp.array([[1, -127], [2, 0], [3, 5]], jnp.int8))
    layer.kernel_scale = nnx.Param(jnp.array([[0.5, 2.0]]))
    np.testing.assert_array_equal(layer(jnp.array([[1.0, 10.0, 100.0]])), [[160.5, 746.0]])

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

from sr_jax.conversion import t5 as conversion
from sr_jax.conversion.rules import convert_state_dict, expected_shapes
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.models.t5 import RELEASED, T5Config, T5Encoder, distance_buckets
from sr_jax.parallel import mesh, sharding
from tests.comparison import relative_error
from tests.teachers import tiny_t5

# Heads times their channels are not the model width, buckets and distance not the released ones: nothing is assumed.
TINY = T5Config(
    vocab_size=37,
    d_model=16,
    d_kv=6,
    d_ff=24,
    num_layers=3,
    num_heads=4,
    relative_attention_num_buckets=12,
    relative_attention_max_distance=20,
    layer_norm_epsilon=1e-2,
)


OPTIONS = dataclasses.asdict(TINY)


def our_params(tensors: dict[str, np.ndarray]) -> dict:
    return convert_state_dict(conversion.rules(TINY), tensors, functional(TINY).abstract_params())


def random_params(original, seed: int) -> dict:
    return our_params(tiny_t5.weights(original("t5").shapes(OPTIONS), seed))


@functools.cache
def functional(config: T5Config, dtype=jnp.float32) -> Functional:
    return Functional(lambda rngs: T5Encoder(config, rngs=rngs, dtype=dtype))


@pytest.fixture(scope="module")
def params(original):
    return random_params(original, seed=0)


def token_ids(batch: int, length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, TINY.vocab_size, (batch, length)).astype(np.int32)


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 5), (2, 31), (1, 226)])
def test_forward_matches_transformers(original, params, batch, length):
    ids = token_ids(batch, length)
    expected = original("t5").forward(OPTIONS, 0, ids)
    assert relative_error(jax.jit(functional(TINY).apply)(params, ids), expected) < 1e-5


def test_gradients_match_transformers(original):
    params, ids = random_params(original, seed=1), token_ids(2, 27)
    weights = np.random.default_rng(1).uniform(-1.7, 1.7, (*ids.shape, TINY.d_model)).astype(np.float32)
    expected = our_params(original("t5").gradients(OPTIONS, 1, ids, weights))
    got = jax.jit(jax.grad(lambda params: jnp.sum(functional(TINY).apply(params, jnp.asarray(ids)) * weights)))(params)

    def check(path, ours, theirs):
        assert np.abs(theirs).max() > 1e-3, jax.tree_util.keystr(path)
        assert relative_error(ours, theirs) < 1e-4, jax.tree_util.keystr(path)

    jax.tree_util.tree_map_with_path(check, got, expected)


def test_bfloat16_is_close_with_float32_and_with_bfloat16_parameters(original, params):
    ids = token_ids(2, 31)
    expected = original("t5").forward(OPTIONS, 0, ids)
    half = functional(TINY, jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(half.abstract_params())} == {jnp.dtype(jnp.float32)}
    for stored in (params, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)):
        got = jax.jit(half.apply)(stored, ids)
        assert got.dtype == jnp.bfloat16
        error = np.linalg.norm(got.astype(np.float32) - expected) / np.linalg.norm(expected)
        assert 1e-4 < error < 2e-2


@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (12, 20), (64, 500)])
def test_distances_are_classed_as_transformers_classes_them(original, buckets, distance):
    length = 520
    expected = original("t5").distance_buckets(length, buckets, distance)
    np.testing.assert_array_equal(distance_buckets(length, buckets, distance), expected)


def test_config_goes_both_ways_and_every_field_is_read(original):
    for config in (TINY, *RELEASED.values()):
        stored = original("t5").stored_config(conversion.config_to_diffusers(config))
        assert conversion.config_from_diffusers(stored) == config


def test_other_encoders_are_refused():
    stored = conversion.config_to_diffusers(TINY)
    with pytest.raises(UserError, match=r"feed_forward_proj 'relu': use a T5 v1\.1"):
        conversion.config_from_diffusers(stored | {"feed_forward_proj": "relu"})
    del stored["d_kv"]
    with pytest.raises(UserError, match="lacks d_kv"):
        conversion.config_from_diffusers(stored)


def test_the_released_xxl_has_the_names_shapes_and_size_of_the_original(original):
    config = RELEASED["xxl"]
    theirs = original("t5").shapes(conversion.config_to_diffusers(config))
    abstract = functional(config).abstract_params()
    rules = conversion.rules(config)
    assert expected_shapes(rules, abstract) == theirs
    assert {rule.target for rule in rules} == traverse_util.flatten_dict(abstract).keys()
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract)) == 4_762_310_656


def test_every_parameter_can_be_split():
    abstract = functional(RELEASED["xxl"]).abstract
    split = sharding.param_shardings(
        abstract, mesh.make_mesh({"data": 1, "fsdp": 2, "context": 1, "tensor": 4}), sharding.ShardingRules()
    )
    shapes = nnx.to_pure_dict(abstract)
    for name, leaf in traverse_util.flatten_dict(shapes).items():
        ways = leaf.size // np.prod(traverse_util.flatten_dict(split)[name].shard_shape(leaf.shape))
        assert ways == {"scale": 1, "relative_attention_bias": 4}.get(name[-1], 8), name

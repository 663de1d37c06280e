"""Reading weights into the shardings they are wanted in."""

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sr_jax.conversion import store
from sr_jax.conversion.components import find_components
from sr_jax.conversion.imported import load_component
from sr_jax.conversion.importing import Source, import_pipeline
from sr_jax.conversion.rules import convert_state_dict
from sr_jax.conversion.streaming import lazy_params, read_params
from sr_jax.errors import UserError
from sr_jax.parallel.mesh import make_mesh
from sr_jax.parallel.sharding import ShardingRules, param_shardings
from tests.conversion.folders import save_transformer, stored_tensors
from tests.training.helpers import assert_same_bits


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_transformer(tmp_path_factory.mktemp("source") / "theirs", "5b_i2v", torch.float32)


@pytest.fixture(scope="module")
def component(source):
    [component] = find_components(source)
    return component


@pytest.fixture(scope="module")
def expected(source, component):
    """The parameters by the simple way: everything in memory."""
    return convert_state_dict(component.rules, stored_tensors(source))


def shardings(component, rules):
    mesh = make_mesh({"data": 1, "fsdp": 4, "tensor": 2})
    return param_shardings(component.kind.functional(component.config).abstract, mesh, rules)


@pytest.mark.parametrize("rules", [ShardingRules(), ShardingRules(layers="tensor", heads=None, mlp=None)])
def test_straight_into_the_target_sharding(component, expected, rules):
    where = shardings(component, rules)
    abstract = component.kind.functional(component.config).abstract_params()
    sizes = []
    params = read_params(component.weights, component.rules, abstract, where, on_bytes=sizes.append)
    assert_same_bits(jax.tree.map(np.asarray, params), expected)
    assert jax.tree.map(lambda leaf: leaf.sharding, params) == where
    assert len({leaf.sharding.spec for leaf in jax.tree.leaves(params)}) > 3
    assert sum(sizes) == component.nbytes()


def test_another_type_of_numbers(component, expected):
    abstract = component.kind.functional(component.config).abstract_params()
    where = shardings(component, ShardingRules())
    params = read_params(component.weights, component.rules, abstract, where, dtype=jnp.dtype(jnp.bfloat16))
    assert_same_bits(jax.tree.map(np.asarray, params), jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), expected))


def test_an_import_holds_one_parameter_at_a_time(tmp_path, component, expected):
    abstract = component.kind.functional(component.config).abstract_params()
    sizes, made = [], []
    lazy = lazy_params(component.weights, component.rules, abstract, on_bytes=sizes.append)
    assert not sizes

    def watched(leaf):
        def read():
            assert all(array() is None for array in made)
            array = leaf.read()
            made.append(weakref.ref(array))
            return array

        return store.LazyArray(leaf.shape, leaf.dtype, read)

    store.save_item(tmp_path / "item", "transformer", jax.tree.map(watched, lazy))
    assert len(made) == len(jax.tree.leaves(expected)) and sum(sizes) == component.nbytes()
    stored = store.StoredParams(tmp_path / "item", "transformer")
    assert_same_bits(stored.load(abstract), expected)


def test_an_import_loads_into_shardings(tmp_path, source, component, expected):
    import_pipeline(Source(source, "theirs"), tmp_path / "ours")
    config, params = load_component(tmp_path / "ours", "transformer")
    assert config == component.config
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(params))
    assert_same_bits(params, expected)
    where = shardings(component, ShardingRules())
    _, params = load_component(tmp_path / "ours", "transformer", shardings=where, dtype=jnp.bfloat16)
    assert jax.tree.map(lambda leaf: leaf.sharding, params) == where
    assert_same_bits(jax.tree.map(np.asarray, params), jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), expected))


def test_a_config_that_was_changed_afterwards_is_noticed(tmp_path, source):
    import_pipeline(Source(source, "theirs"), tmp_path / "ours")
    path = tmp_path / "ours" / "source" / "config.json"
    path.write_text(path.read_text().replace('"time_embed_dim": 12', '"time_embed_dim": 13'))
    with pytest.raises(UserError, match=r"time_embedding\.linear_1\.bias, .* differ"):
        load_component(tmp_path / "ours", "transformer")


@pytest.mark.parametrize(("layers", "limit"), [(1, 1), (13, 1), (14, 2), (42, 4)])
def test_orbax_is_allowed_the_largest_parameter(layers, limit):
    """Orbax refuses an array that is not smaller than what it may hold; one layer of the 5B model has 75 MB."""
    largest = jax.ShapeDtypeStruct((layers, 3072, 12288), jnp.bfloat16)
    assert store.concurrent_gb([jax.ShapeDtypeStruct((3,), jnp.float32), largest]) == limit

"""Weights of a diffusers folder, read from its files part by part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.releases import find_components, import_pipeline, imported_parts, open_component
from sr_jax.conversion import exporting
from sr_jax.conversion.importing import Source
from sr_jax.conversion.rules import convert_state_dict
from sr_jax.conversion.streaming import lazy_params
from sr_jax.errors import UserError
from sr_jax.parallel.batches import place
from sr_jax.parallel.lazy import LazyArray, on_host
from sr_jax.parallel.mesh import make_mesh
from sr_jax.parallel.sharding import ShardingRules, param_shardings
from sr_jax.parallel.stored import open_item, save_item
from tests.conversion.folders import save_transformer, stored_tensors
from tests.training.helpers import assert_same_bits


@pytest.fixture(scope="module")
def source(original, tmp_path_factory):
    return save_transformer(original, tmp_path_factory.mktemp("source") / "theirs", "5b_i2v", "float32")


@pytest.fixture(scope="module")
def component(source):
    [component] = find_components(source)
    return component


@pytest.fixture(scope="module")
def expected(source, component):
    """The parameters by the simple way: everything in memory."""
    return convert_state_dict(component.rules, stored_tensors(source))


def lazily(component, **options):
    abstract = component.kind.functional(component.config).abstract_params()
    return lazy_params(component.weights, component.rules, abstract, **options)


def shardings(component, rules):
    mesh = make_mesh({"data": 1, "fsdp": 4, "tensor": 2})
    return param_shardings(component.kind.functional(component.config).abstract, mesh, rules)


@pytest.mark.parametrize("rules", [ShardingRules(), ShardingRules(layers="tensor", heads=None, mlp=None)])
def test_straight_into_the_target_sharding(component, expected, rules):
    where = shardings(component, rules)
    sizes = []
    lazy = lazily(component, on_bytes=sizes.append)
    assert not sizes
    params = place(lazy, where)
    assert_same_bits(on_host(params), expected)
    assert jax.tree.map(lambda leaf: leaf.sharding, params) == where
    assert len({leaf.sharding.spec for leaf in jax.tree.leaves(params)}) > 3
    assert sum(sizes) == component.nbytes()


def test_parts_of_stacked_and_other_parameters(component, expected):
    lazy = lazily(component)
    kernel, whole = (tree["transformer_blocks"]["ff"]["proj_in"]["kernel"] for tree in (lazy, expected))
    index = slice(1, 2), slice(3, 11), slice(0, 5)
    np.testing.assert_array_equal(kernel[index], whole[index])
    np.testing.assert_array_equal(kernel[np.array([1, 0, 1]), *index[1:]], whole[[1, 0, 1], *index[1:]])
    bias, whole = (tree["proj_out"]["kernel"] for tree in (lazy, expected))
    part = bias[2:7, 1:3]
    np.testing.assert_array_equal(part, whole[2:7, 1:3])
    # Not a view of the file.
    assert part.flags.owndata and part.flags.writeable and part.flags.c_contiguous


def test_another_type_of_numbers(component, expected):
    params = place(lazily(component, dtype=jnp.dtype(jnp.bfloat16)), shardings(component, ShardingRules()))
    assert_same_bits(on_host(params), jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), expected))


def test_an_import_reads_each_tensor_once(tmp_path, component, expected):
    sizes = []
    save_item(tmp_path / "item", "transformer", lazily(component, on_bytes=sizes.append))
    assert sum(sizes) == component.nbytes() and len(sizes) == len(component.rules)
    opened = open_item(tmp_path / "item")["transformer"]
    assert all(isinstance(leaf, LazyArray) for leaf in jax.tree.leaves(opened))
    assert_same_bits(on_host(opened), expected)


def test_an_import_loads_into_shardings(tmp_path, source, component, expected):
    import_pipeline(Source(source, "theirs"), tmp_path / "ours")
    config, params = open_component(tmp_path / "ours", "transformer")
    assert config == component.config
    assert_same_bits(on_host(params), expected)
    where = shardings(component, ShardingRules())
    params = place(jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params), where)
    assert jax.tree.map(lambda leaf: leaf.sharding, params) == where
    assert_same_bits(on_host(params), jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), expected))


def test_an_export_reads_some_rows_at_a_time(tmp_path, source, monkeypatch):
    import_pipeline(Source(source, "theirs"), tmp_path / "ours")
    monkeypatch.setattr(exporting, "_READ_BYTES", 1)
    exporting.export(imported_parts(tmp_path / "ours"), tmp_path / "back")
    theirs, back = stored_tensors(source), stored_tensors(tmp_path / "back")
    assert back.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(back[name], tensor, err_msg=name)


def test_a_config_that_was_changed_afterwards_is_noticed(tmp_path, source):
    import_pipeline(Source(source, "theirs"), tmp_path / "ours")
    path = tmp_path / "ours" / "source" / "config.json"
    path.write_text(path.read_text().replace('"time_embed_dim": 12', '"time_embed_dim": 13'))
    with pytest.raises(UserError, match=r"time_embedding\.linear_1\.bias, .* differ"):
        open_component(tmp_path / "ours", "transformer")

"""Logical axis names to shardings, strictly."""

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.parallel.mesh import make_mesh
from sr_jax.parallel.sharding import ShardingRules, bytes_per_device, like, param_shardings
from sr_jax.parallel.table import sharding_table
from tests.models.tiny_transformers import Predictor

RULES = ShardingRules()


@pytest.fixture(scope="module")
def mesh():
    return make_mesh({"data": 2, "fsdp": 2, "tensor": 2})


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        (("embed", "mlp"), (4, 8), P("fsdp", "tensor")),
        (("embed", "mlp"), (6, 4, 8), P(None, "fsdp", "tensor")),
        (("mlp",), (8,), P("tensor")),
        # Not divisible: not split.
        (("embed", "mlp"), (3, 8), P(None, "tensor")),
        # A mesh axis is used once.
        (("embed", "embed"), (4, 4), P("fsdp", None)),
    ],
)
def test_spec(mesh, axes, shape, expected):
    assert RULES.spec(axes, shape, mesh) == expected


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        (("embed", "mlp"), (8, 8), P(("fsdp", "context"), None)),
        # One of the two axes where both together do not divide.
        (("embed", "mlp"), (6, 8), P("fsdp", None)),
        (("norm",), (8,), P(None)),
    ],
)
def test_context_splits_parameters_too(axes, shape, expected):
    assert RULES.spec(axes, shape, make_mesh({"fsdp": 2, "context": 4})) == expected


@pytest.mark.parametrize(("axes", "error"), [(("embed", "surprise"), KeyError), (("embed",), ValueError)])
def test_spec_refuses_what_it_does_not_know(mesh, axes, error):
    with pytest.raises(error):
        RULES.spec(axes, (2, 2, 2) if error is ValueError else (2, 2), mesh)


class _Unnamed(nnx.Module):
    def __init__(self, rngs):
        self.named = nnx.Param(jnp.zeros((4,)), logical_axes=("embed",))
        self.unnamed = nnx.Linear(2, 2, rngs=rngs)


def test_a_config_changes_rules_that_there_are():
    assert ShardingRules.of({}) == ShardingRules()
    changed = ShardingRules.of({"mlp": "fsdp", "embed": None, "heads": ("fsdp", "tensor")})
    assert changed == ShardingRules(mlp="fsdp", embed=None, heads=("fsdp", "tensor"))
    with pytest.raises(UserError, match=r"^config\.sharding names 'mpl': choose among layers, .*mlp"):
        ShardingRules.of({"mpl": "fsdp"})
    for wrong in ("rows", ("fsdp", "rows"), 3, ["fsdp"]):
        with pytest.raises(UserError, match=r"^config\.sharding\.mlp is .*: name axes of the mesh, data, fsdp, "):
            ShardingRules.of({"mlp": wrong})


def test_a_parameter_without_a_rule_is_an_error_that_names_it(mesh):
    with pytest.raises(ValueError, match="unnamed/kernel") as error:
        param_shardings(Functional(lambda rngs: _Unnamed(rngs)).abstract, mesh, RULES)
    assert "named/kernel" in str(error.value) and "unnamed/bias" in str(error.value)


@pytest.fixture(scope="module")
def transformer():
    config = CogVideoXConfig(
        num_attention_heads=2, attention_head_dim=16, num_layers=3, in_channels=8, out_channels=4, time_embed_dim=8,
        text_embed_dim=12, use_rotary_positional_embeddings=True,
    )  # fmt: skip
    return Predictor(config)


def test_the_transformer_is_split_over_fsdp_and_tensor(mesh, transformer):
    shardings = param_shardings(transformer.abstract, mesh, RULES)
    block = shardings["transformer_blocks"]
    specs = {jax.tree_util.keystr(path): s.spec for path, s in jax.tree_util.tree_leaves_with_path(block)}
    assert specs["['attn1']['to_q']['kernel']"] == P(None, "fsdp", "tensor")
    assert specs["['attn1']['to_out']['kernel']"] == P(None, "tensor", "fsdp")
    shapes = transformer.abstract_params()
    held = sum(jax.tree.leaves(jax.tree.map(bytes_per_device, shapes, shardings)))
    whole = sum(leaf.size * 4 for leaf in jax.tree.leaves(shapes))
    # Most bytes are in kernels, split four ways here.
    assert held < 0.4 * whole


def test_optimizer_moments_are_split_like_their_parameters(mesh, transformer):
    shapes = transformer.abstract_params()
    shardings = param_shardings(transformer.abstract, mesh, RULES)
    placed = jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes, shardings)
    abstract = jax.eval_shape(optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)).init, shapes)
    adam = like(placed, abstract, mesh)[1][0]
    assert adam.mu == shardings
    assert adam.nu == shardings
    assert adam.count.spec == P()


def test_the_table_says_where_everything_is(mesh):
    def leaf(shape, dtype, *spec):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, P(*spec)))

    tree = {
        "block": {
            "kernel": leaf((3, 4, 8), jnp.float32, None, "fsdp", "tensor"),
            "bias": leaf((8,), jnp.bfloat16, ("fsdp", "tensor")),
        },
        "step": leaf((), jnp.int32),
    }
    assert sharding_table(tree).splitlines() == [
        "path         | shape | spec            | bytes per device",
        "block/bias   | 8     | fsdp+tensor     |                4",
        "block/kernel | 3x4x8 | -, fsdp, tensor |               96",
        "step         | ()    | replicated      |                4",
        "total        |       |                 |              104",
    ]

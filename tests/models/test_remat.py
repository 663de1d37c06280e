"""What the remat policies keep; that they change no result is shown on the whole training step."""

import jax
import jax.numpy as jnp
import pytest

from sr_jax.errors import UserError
from sr_jax.models.cogvideox import CogVideoXTransformer3D
from sr_jax.models.cogvideox_config import CogVideoXConfig
from sr_jax.models.functional import Functional
from sr_jax.models.remat import POLICIES

CONFIG = CogVideoXConfig(
    num_attention_heads=2, attention_head_dim=16, num_layers=6, in_channels=4, out_channels=4, time_embed_dim=8,
    text_embed_dim=12, use_rotary_positional_embeddings=True,
)  # fmt: skip


def compile_gradient(remat):
    functional = Functional(lambda rngs: CogVideoXTransformer3D(CONFIG, rngs=rngs, remat=remat))

    def loss(params, latents, text, timesteps):
        return jnp.sum(functional.apply(params, latents, text, timesteps) ** 2)

    shapes = [((1, 4, 8, 8, 4), jnp.float32), ((1, 8, 12), jnp.float32), ((1,), jnp.int32)]
    inputs = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    return jax.jit(jax.grad(loss)).lower(functional.abstract_params(), *inputs).compile()


@pytest.fixture(scope="module")
def compiled():
    return {name: compile_gradient(name) for name in POLICIES if name != "offload"}


def test_each_policy_computes_more_than_the_one_before(compiled):
    flops = [compiled[name].cost_analysis()["flops"] for name in ("none", "save_attention", "block")]
    assert flops[0] < flops[1] < flops[2]


def test_each_policy_keeps_less_than_the_one_before(compiled):
    kept = [compiled[name].memory_analysis().temp_size_in_bytes for name in ("none", "save_attention", "block")]
    assert kept[0] > kept[1] > kept[2]


def test_an_unknown_policy():
    with pytest.raises(UserError, match=r"config\.remat is 'some': choose one of none, save_matmuls"):
        compile_gradient("some")

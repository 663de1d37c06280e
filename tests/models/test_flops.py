"""Closed forms of the modules' FLOPs against traces of the modules and against XLA's own count."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from sr_jax.alignment.identity_module import IdentityConfig, IdentityModule, identity_flops
from sr_jax.backbones.cogvideox.config import RELEASED
from sr_jax.backbones.cogvideox.flops import transformer_flops
from sr_jax.models.functional import Functional
from sr_jax.planning.operations import count_flops
from tests.models.tiny_transformers import Predictor

_SMALL = {
    "num_attention_heads": 4, "time_embed_dim": 32, "text_embed_dim": 96, "max_text_seq_length": 10,
    "sample_frames": 9, "sample_height": 12, "sample_width": 16,
}  # fmt: skip


def _transformer(name, num_layers, remat="none"):
    config = dataclasses.replace(RELEASED[name], num_layers=num_layers, **_SMALL)
    if config.ofs_embed_dim is not None:
        config = dataclasses.replace(config, ofs_embed_dim=32, sample_frames=13)
    module = Predictor(config, remat=remat)
    latents = jax.ShapeDtypeStruct((1, *config.sample_size, config.in_channels), jnp.float32)
    text = jax.ShapeDtypeStruct((1, 10, 96), jnp.float32)
    return config, module, (latents, text, jax.ShapeDtypeStruct((1,), jnp.int32))


def _counted(function, *args):
    return count_flops(jax.jit(function).trace(*args).jaxpr)


@pytest.mark.parametrize("name", ["2b", "5b_i2v", "1_5_5b_i2v"])
def test_the_transformer_forwards_exactly(name):
    config, module, inputs = _transformer(name, 3)
    counted = _counted(module.apply, module.abstract_params(), *inputs)
    # The places of the text pass through the projections of the patches too, and a product with ones and zeros brings
    # the text to its places: what the layout on a mesh costs, not what the model needs.
    needless = 2 * 10 * config.width * math.prod(config.patch) * (config.in_channels + config.out_channels)
    needless += 2 * (10 + math.prod(config.tokens(config.sample_size))) * 10 * config.width
    assert transformer_flops(config, config.sample_size, 10).forward == counted - needless


def test_the_transformer_in_training():
    config, module, inputs = _transformer("5b_i2v", 8)
    flops = transformer_flops(config, config.sample_size, 10)
    params = module.abstract_params()
    trained = _counted(jax.grad(lambda p, *x: module.apply(p, *x).sum()), params, *inputs)
    through = _counted(jax.grad(lambda x, p, *rest: module.apply(p, x, *rest).sum()), inputs[0], params, *inputs[1:])
    # The gradients with respect to the data, and those of a frozen module's time embedding, are not computed.
    assert trained == pytest.approx(flops.training, rel=0.01)
    assert through == pytest.approx(flops.through, rel=0.01)


def test_recomputing_blocks_costs_their_forward_pass():
    config, module, inputs = _transformer("5b_i2v", 8, remat="block")
    flops = transformer_flops(config, config.sample_size, 10)
    trained = _counted(jax.grad(lambda p, *x: module.apply(p, *x).sum()), module.abstract_params(), *inputs)
    # Of the last product of a block, too: the gradient of its gate needs it.
    assert trained == pytest.approx(flops.training + flops.forward, rel=0.01)


def test_the_transformer_against_xla():
    """XLA counts everything, norms and activations too, and a loop's body once."""
    config, module, inputs = _transformer("5b_i2v", 1)
    cost = jax.jit(module.apply).lower(module.abstract_params(), *inputs).compile().cost_analysis()
    assert transformer_flops(config, config.sample_size, 10).forward == pytest.approx(cost["flops"], rel=0.04)


@pytest.mark.parametrize(
    "config",
    [
        IdentityConfig(),
        IdentityConfig(use_depth=False, widths=(64, 64), blocks_per_stage=1),
        IdentityConfig(widths=(64, 64), pooled_size=(3, 2)),
    ],
)
def test_the_identity_module(config):
    module = Functional(lambda rngs: IdentityModule(config, rngs=rngs))
    latents = jax.ShapeDtypeStruct((1, 2, 15, 12, 16), jnp.float32)
    depth = latents if config.use_depth else None
    flops = identity_flops(config, (2, 15, 12))
    params = module.abstract_params()
    assert flops.forward == _counted(lambda p, x, d: module.apply(p, x, d), params, latents, depth)
    trained = _counted(jax.grad(lambda p, x, d: module.apply(p, x, d).sum()), params, latents, depth)
    assert trained == pytest.approx(flops.training, rel=0.04)


def test_the_released_models():
    """2, 12 and 4 N^2 by hand for CogVideoX-5B-I2V at 49 frames of 480x720: 17,776 tokens of width 3072, 42 blocks."""
    flops = transformer_flops(RELEASED["5b_i2v"], (13, 60, 90), 226)
    assert flops.attention == 42 * 4 * 17_776**2 * 3072
    assert flops.weights == pytest.approx(42 * 24 * 17_776 * 3072**2, rel=1e-3)
    assert transformer_flops(RELEASED["1_5_5b_i2v"], (22, 96, 170), 226).attention == 42 * 4 * 45_106**2 * 3072

"""Hidden states behind blocks: those of diffusers, at the cost of one activation each."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.base import Inputs
from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.checkpoints.networks import transformer_network
from sr_jax.errors import UserError
from tests.comparison import relative_error
from tests.models.tiny_transformers import I2V_1_5, ROPE, our_params, random_inputs, random_transformer_weights

LAYERS = 4


@pytest.mark.parametrize(("config", "size", "taps"), [(ROPE, (3, 6, 10), (1, 3)), (I2V_1_5, (4, 6, 10), (4, 2))])
@pytest.mark.parametrize("remat", ["none", "block"])
def test_hidden_states_are_those_of_diffusers(original, config, size, taps, remat):
    config = dataclasses.replace(config, num_layers=LAYERS)
    latents, text, timesteps = random_inputs(config, 2, size)
    params = our_params(random_transformer_weights(original, config), config)
    expected = original("transformer").hidden_states(dataclasses.asdict(config), 0, latents, text, timesteps, taps)
    network = transformer_network(CogVideoX(config), remat=remat)
    prediction, hidden = jax.jit(lambda *batch: network.apply(params, *batch, taps=taps))(latents, text, timesteps)
    whole, nothing = jax.jit(lambda *batch: network.apply(params, *batch))(latents, text, timesteps)
    assert nothing == {} and set(hidden) == set(taps)
    assert relative_error(prediction, whole) < 1e-6
    for tap in taps:
        grid = (2, *config.tokens(size), config.width)
        assert relative_error(hidden[tap], expected[tap].reshape(grid)) < 1e-4


def test_a_tap_that_is_no_block_is_refused():
    backbone = CogVideoX(ROPE)
    network = transformer_network(backbone)
    inputs = Inputs(jnp.zeros((1, 3, 8, 12, 4)), jnp.zeros(1, jnp.int32), jnp.zeros((1, 5, 10)), {})
    for tap in (0, ROPE.num_layers + 1):
        with pytest.raises(UserError, match=f"blocks 1 to {ROPE.num_layers}"):
            jax.eval_shape(
                lambda params, tap=tap: backbone.predict(
                    lambda *a, **k: network.apply(params, *a, **k), inputs, (tap,)
                ),
                network.abstract_params(),
            )


def compiled(config, size, taps):
    """The compiled gradient of a loss on the prediction and narrow projections of the hidden states."""
    network = transformer_network(CogVideoX(config), remat="block")
    latents, text, timesteps = (jnp.asarray(x) for x in random_inputs(config, 1, size))
    projector = jnp.ones((config.width, 8))

    def loss(params):
        prediction, hidden = network.apply(params, latents, text, timesteps, taps=taps)
        return jnp.mean(prediction**2) + sum(jnp.mean((x @ projector) ** 2) for x in hidden.values())

    return jax.jit(jax.grad(loss)).lower(network.abstract_params()).compile()


def test_a_tap_costs_one_activation():
    config, size = dataclasses.replace(ROPE, num_layers=8, num_attention_heads=4), (5, 24, 24)
    activation = 4 * config.width * (int(np.prod(config.tokens(size))) + 5)
    without, one, two = (
        compiled(config, size, taps).memory_analysis().temp_size_in_bytes for taps in ((), (3,), (3, 6))
    )
    assert one - without == pytest.approx(activation, rel=0.05)
    assert two - one == pytest.approx(activation, rel=0.05)

"""Schedules and optimizers against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sr_jax.configs.base import get_config
from sr_jax.training.optimizers import learning_rate_schedule, make_optimizer
from sr_jax.training.state import TrainState, make_train_step


@pytest.fixture
def config():
    config = get_config("tiny").optimizer
    config.update(name="adamw", learning_rate=0.5, warmup_steps=4, schedule="constant", weight_decay=0.1)
    return config


def test_warmup_then_constant(config):
    schedule = learning_rate_schedule(config, 100)
    np.testing.assert_allclose([schedule(step) for step in (0, 1, 4, 99)], [0.0, 0.125, 0.5, 0.5])


def test_warmup_then_cosine(config):
    config.schedule = "cosine"
    schedule = learning_rate_schedule(config, 24, peak=2.0)
    np.testing.assert_allclose([schedule(step) for step in (2, 4, 14, 24)], [1.0, 2.0, 1.0, 0.0], atol=1e-6)


def test_adamw_step_against_numpy(config):
    config.update(warmup_steps=0, max_grad_norm=1.0)
    optimizer = make_optimizer(config, 10)
    params = {"w": jnp.asarray([3.0, -2.0])}
    gradients = {"w": jnp.asarray([30.0, 40.0])}
    updates, _ = optimizer.update(gradients, optimizer.init(params), params, grad_norm=optax.global_norm(gradients))
    clipped = np.array([30.0, 40.0]) / 50.0
    # After one step the bias-corrected moments are the gradient and its square.
    expected = -0.5 * (clipped / (np.abs(clipped) + config.eps) + 0.1 * np.array([3.0, -2.0]))
    np.testing.assert_allclose(updates["w"], expected, rtol=1e-5)


def test_muon_orthogonalises_the_blocks_matrices_only(config):
    config.update(name="muon", warmup_steps=0, muon_learning_rate=1.0, weight_decay=0.0, max_grad_norm=1e9)
    optimizer = make_optimizer(config, 10)
    key = jax.random.key(0)
    kernel = jax.random.normal(key, (2, 8, 8))
    params = {"transformer_blocks": {"ff": {"kernel": kernel}, "norm1": {"kernel": kernel}}, "proj": {"kernel": kernel}}
    gradients = jax.tree.map(lambda x: x + 0.1, params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params, grad_norm=optax.global_norm(gradients))
    for update in updates["transformer_blocks"]["ff"]["kernel"]:
        # Newton-Schulz brings the singular values near 1, not exactly to it.
        singular = np.linalg.svd(update, compute_uv=False)
        assert singular.min() > 0.4 and singular.max() < 1.4
    # The first step of Adam with Nesterov momentum, whose corrected moment looks one step ahead.
    ahead = config.b1 * (1 - config.b1) / (1 - config.b1**2) + 1
    adam = -0.5 * ahead * jnp.sign(gradients["proj"]["kernel"])
    np.testing.assert_allclose(updates["proj"]["kernel"], adam, atol=1e-3)
    np.testing.assert_allclose(updates["transformer_blocks"]["norm1"]["kernel"], adam, atol=1e-3)


class _Linear:
    """A stage whose loss is `w x`."""

    def draw(self, frozen, batch, key, progress):
        return batch

    def advance(self, running, metrics):
        return running

    def loss(self, params, frozen, drawn):
        return jnp.sum(params["w"] * drawn["x"]), {}


def test_the_average_warms_up_and_then_decays():
    step = jax.jit(make_train_step(_Linear(), optax.sgd(1.0), ema_decay=0.5, seed=0))
    state = TrainState.create({"w": jnp.zeros(())}, optax.sgd(1.0))
    expected, w = 0.0, 0.0
    for n in range(8):
        state, metrics = step(state, {}, {"x": jnp.asarray(2.0)})
        w -= 2.0
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * w
    np.testing.assert_allclose(state.params["w"], w)
    np.testing.assert_allclose(state.ema_params["w"], expected, rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"].compute(), 2.0)


class _Sum(_Linear):
    """A stage whose gradient of a buffer is not 0, as no model's is: an optimizer must not rely on that."""

    def loss(self, params, frozen, drawn):
        return drawn["x"][0] * sum(jnp.sum(leaf) for leaf in params["patch_embed"].values()), {}


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_buffers_are_not_changed_by_weight_decay_nor_by_averaging(config, name):
    config.update(name=name, warmup_steps=0, weight_decay=0.5)
    optimizer = make_optimizer(config, 10)
    rng = np.random.default_rng(0)
    values = {
        name: jnp.asarray(rng.standard_normal(50), jnp.float32) for name in ("pos_embedding", "empty_prompt", "w")
    }
    params = {"patch_embed": values}

    step = jax.jit(make_train_step(_Sum(), optimizer, ema_decay=0.9, seed=0))
    state = TrainState.create(params, optimizer)
    for _ in range(20):
        state, _ = step(state, {}, {"x": jnp.ones(1)})
    for tree in (state.params["patch_embed"], state.ema_params["patch_embed"]):
        for buffer in ("pos_embedding", "empty_prompt"):
            np.testing.assert_array_equal(tree[buffer], values[buffer])
        assert (tree["w"] != values["w"]).all()

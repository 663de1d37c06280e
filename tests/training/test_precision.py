"""Parameters and optimizer state in bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sr_jax.errors import UserError
from sr_jax.models.precision import stochastic_round, storage_type, store, stored_in, to_float32
from sr_jax.training.optimizers import make_optimizer
from sr_jax.training.state import TrainState, make_train_step


@pytest.mark.parametrize("value", [1.001, -3.3e-5, 3e-38])
def test_rounding_chooses_between_the_neighbours_and_is_right_on_average(value):
    rounded = np.asarray(stochastic_round(jnp.full((20_000,), value), jax.random.key(0)), np.float64)
    below, above = np.unique(rounded)
    assert below < np.float32(value) < above
    # bfloat16 has 8 significant bits.
    assert (above - below) <= 2.0**-7 * abs(value)
    error = abs(rounded.mean() - np.float32(value)) / (above - below)
    assert error < 4 * 0.5 / np.sqrt(len(rounded))


def test_rounding_keeps_what_bfloat16_holds():
    exact = jnp.asarray([0.0, -0.0, 1.0, 1.0078125, -3.0, jnp.inf, -jnp.inf, jnp.nan])
    for seed in range(20):
        np.testing.assert_array_equal(stochastic_round(exact, jax.random.key(seed)).astype(jnp.float32), exact)


def test_what_is_stored_in_float32_keeps_its_bits():
    tree = {"a": jnp.asarray([1.001]), "b": jnp.asarray([1.001])}
    stored = store(tree, {"a": tree["a"], "b": tree["b"].astype(jnp.bfloat16)}, jax.random.key(0))
    assert (stored["a"].dtype, stored["b"].dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_array_equal(stored["a"], tree["a"])
    assert to_float32(stored)["b"].dtype == jnp.float32


class _Pull:
    """A stage whose loss pulls `w` up with a constant gradient of -1."""

    def draw(self, frozen, batch, key, progress):
        return batch

    def advance(self, running, metrics):
        return running

    def loss(self, params, frozen, drawn):
        return -jnp.sum(params["w"].astype(jnp.float32)), {}


def test_updates_far_below_the_resolution_add_up():
    # From 1 the next number is 1.0078: an update of 1e-4 rounded to the nearest would be lost, every time.
    optimizer = optax.sgd(1e-4)
    state = TrainState.create({"w": jnp.ones((4096,), jnp.bfloat16)}, optimizer)
    step = jax.jit(make_train_step(_Pull(), optimizer, ema_decay=0.9, seed=0))
    for _ in range(100):
        state, _ = step(state, {}, {"x": jnp.zeros((1,))})
    assert state.params["w"].dtype == state.ema_params["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(state.params["w"].astype(jnp.float32).mean(), 1.01, atol=2e-4)
    np.testing.assert_allclose(state.ema_params["w"].astype(jnp.float32).mean(), 1.01 - 9e-4, atol=3e-4)


def _run(optimizer, steps):
    target = jax.random.normal(jax.random.key(0), (256, 192))
    params = {"w": jnp.zeros((256, 192))}
    state = optimizer.init(params)
    optimizer = optax.with_extra_args_support(optimizer)

    @jax.jit
    def step(params, state):
        gradients = jax.tree.map(lambda w: w - target, params)
        updates, state = optimizer.update(gradients, state, params, grad_norm=optax.global_norm(gradients))
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params["w"] - target, state


def test_adam_with_a_bfloat16_state_goes_where_adam_goes():
    plain, stored = (_run(stored_in(optax.adam(0.05), dtype, seed=0), 60) for dtype in (jnp.float32, jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(stored[1]) if leaf.ndim} == {jnp.dtype(jnp.bfloat16)}
    difference = np.linalg.norm(plain[0] - stored[0]) / np.linalg.norm(_run(optax.adam(0.05), 0)[0])
    assert 0 < difference < 0.01


def test_the_factored_state_is_small_and_learns(tiny):
    overrides = {"optimizer.name": "adafactor", "optimizer.learning_rate": 0.05, "optimizer.weight_decay": 0.0}
    config = tiny("base", **overrides)
    optimizer = make_optimizer(config.optimizer, 100)
    error, state = _run(optimizer, 60)
    assert sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim) < 3 * (256 + 192)
    assert np.linalg.norm(error) < 0.2 * np.linalg.norm(_run(optimizer, 0)[0])


def test_another_type_is_refused():
    with pytest.raises(UserError, match=r"config\.param_dtype is 'float16': choose float32 or bfloat16"):
        storage_type("param_dtype", "float16")

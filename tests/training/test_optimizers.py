"""Schedules and optimizers against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sr_jax.configs.base import get_config
from sr_jax.training import builders
from sr_jax.training.optimizers import decaying, learning_rate_schedule, make_optimizer
from sr_jax.training.state import SKIPPED, TrainState, make_train_step


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


def test_lion_steps_against_numpy(config):
    config.update(name="lion", warmup_steps=0, max_grad_norm=1e9, b1=0.9, b2=0.99)
    optimizer = make_optimizer(config, 10)
    params, mean = np.array([3.0, -2.0, 0.5]), np.zeros(3)
    state = optimizer.init({"w": jnp.asarray(params, jnp.float32)})
    # Behind the second gradient the signs of the mean that is kept and of what is applied differ.
    for gradient in (np.array([30.0, -4.0, 0.0]), np.array([-4.0, 30.0, 1.0])):
        tree = {"w": jnp.asarray(params, jnp.float32)}
        updates, state = optimizer.update(
            {"w": jnp.asarray(gradient, jnp.float32)}, state, tree, grad_norm=jnp.ones(())
        )
        expected = -0.5 * (np.sign(0.9 * mean + 0.1 * gradient) + 0.1 * params)
        np.testing.assert_allclose(updates["w"], expected, rtol=1e-6)
        params, mean = params + expected, 0.99 * mean + 0.01 * gradient


def _reference(config, mask):
    """Optax's own rules with its own masks, for a gradient that is not clipped."""
    if config.name == "adamw":
        return optax.adamw(0.5, b1=config.b1, b2=config.b2, eps=config.eps, weight_decay=0.1, mask=mask)
    if config.name == "lion":
        return optax.lion(0.5, b1=config.b1, b2=config.b2, weight_decay=0.1, mask=mask)
    rules = (optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0), optax.add_decayed_weights(0.1, mask))
    return optax.chain(*rules, optax.scale_by_learning_rate(0.5))


@pytest.fixture
def some():
    """Parameters, gradients, and which of them decay."""
    shapes = {"kernel": (4, 3), "bias": (3,), "norm": {"scale": (3,)}}
    rng = np.random.default_rng(0)
    params, gradients = (
        jax.tree.map(
            lambda shape: jnp.asarray(rng.standard_normal(shape), jnp.float32),
            shapes,
            is_leaf=lambda item: isinstance(item, tuple),
        )
        for _ in range(2)
    )
    return params, gradients, {"kernel": True, "bias": False, "norm": {"scale": False}}


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor"])
def test_weight_decay_is_that_of_optax_with_a_mask(config, some, name, everything):
    config.update(name=name, warmup_steps=0, max_grad_norm=1e9)
    params, gradients, decays = some
    optimizer = make_optimizer(config, 10, None if everything else decays)
    reference = _reference(config, None if everything else decays)
    state, expected_state = optimizer.init(params), reference.init(params)
    for _ in range(3):
        updates, state = optimizer.update(gradients, state, params, grad_norm=jnp.ones(()))
        expected, expected_state = reference.update(gradients, expected_state, params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, expected)
        params = optax.apply_updates(params, updates)


def test_weight_decay_of_muon_is_what_it_adds_to_an_update(config):
    config.update(name="muon", warmup_steps=0, muon_learning_rate=2.0, max_grad_norm=1e9)
    rng = np.random.default_rng(0)
    one = {"kernel": jnp.asarray(rng.standard_normal((2, 8, 8)), jnp.float32), "bias": jnp.ones((2, 8))}
    params = {"transformer_blocks": {"ff": one, "norm1": one}, "proj": one}
    gradients = jax.tree.map(lambda x: x + 0.1, params)
    kernels = {"kernel": True, "bias": False}
    decays = {"transformer_blocks": {"ff": kernels, "norm1": {"kernel": False, "bias": False}}, "proj": kernels}

    def update(weight_decay):
        config.weight_decay = weight_decay
        optimizer = make_optimizer(config, 10, decays)
        return optimizer.update(gradients, optimizer.init(params), params, grad_norm=jnp.ones(()))[0]

    added = jax.tree.map(jnp.subtract, update(0.1), update(0.0))
    kernel, nothing = one["kernel"], {"kernel": jnp.zeros((2, 8, 8)), "bias": jnp.zeros((2, 8))}
    # Each by the rate of its own rule.
    blocks = {"ff": nothing | {"kernel": -2.0 * 0.1 * kernel}, "norm1": nothing}
    expected = {"transformer_blocks": blocks, "proj": nothing | {"kernel": -0.5 * 0.1 * kernel}}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), added, expected)


@pytest.mark.parametrize("stage", ["base", "stage_one", "lora"])
def test_what_decays_are_matrices_and_convolutions_but_no_modulations(tiny, stage):
    config = tiny("stage_one") if stage == "stage_one" else tiny("base", **{"lora.rank": 2 * (stage == "lora")})
    modules = builders.build_stage(config).modules
    found = decaying({name: module.abstract for name, module in modules.items()})
    params = {name: module.abstract_params() for name, module in modules.items()}
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for path, decays in jax.tree_util.tree_leaves_with_path(found):
        names = [str(key.key) for key in path]
        modulation = names[-2:] == ["linear", "kernel"] and names[-3] in ("norm1", "norm2", "norm_out")
        matrix = names[-1] in ("kernel", "lora_a", "lora_b")
        assert decays == (matrix and not modulation), names
    # Of each kind there are some.
    assert set(jax.tree.leaves(found)) == ({True} if stage == "lora" else {True, False})


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


@pytest.mark.parametrize(
    ("name", "state_dtype", "warmup"),
    [("adamw", "bfloat16", 4), ("lion", "float32", 0), ("adafactor", "float32", 4), ("muon", "float32", 4)],
)
def test_the_learning_rate_and_the_norms_of_a_step(config, name, state_dtype, warmup):
    config.update(name=name, state_dtype=state_dtype, warmup_steps=warmup)
    optimizer, schedule = make_optimizer(config, 10), learning_rate_schedule(config, 10)
    kernel = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4)), jnp.float32)
    params = {"patch_embed": {"w": jnp.asarray([3.0, 4.0])}, "transformer_blocks": {"ff": {"kernel": kernel}}}
    step = jax.jit(make_train_step(_Sum(), optimizer, ema_decay=0.9, seed=0, learning_rate=schedule))
    state = TrainState.create(params, optimizer)
    # The rate goes by updates: a step that is skipped is none, and says nothing of them.
    for number, x in enumerate([1.0, 1.0, np.nan, 1.0]):
        before, (state, metrics) = state, step(state, {}, {"x": jnp.full(1, x)})
        values = {name: float(value.compute()) for name, value in metrics.items() if value.count and name != SKIPPED}
        if np.isnan(x):
            assert values == {}
            continue
        norms = [
            np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(tree)))
            for tree in (state.params, jax.tree.map(lambda new, old: new - old, state.params, before.params))
        ]
        assert values["learning_rate"] == (0.125 * min(number, 2) if warmup else 0.5)
        np.testing.assert_allclose([values["param_norm"], values["update_norm"]], norms, rtol=1e-5, atol=1e-6)
    assert values["update_norm"] > 0.1

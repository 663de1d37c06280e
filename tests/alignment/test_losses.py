"""The three losses against closed forms and brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_jax.alignment.identity import identity_loss
from sr_jax.alignment.structure import structure_loss
from sr_jax.diffusion.denoising_loss import denoising_loss


@pytest.mark.parametrize("loss", [denoising_loss, structure_loss])
@pytest.mark.parametrize("shape", [(1, 1, 2, 2, 1), (3, 4, 5, 6, 7)])
def test_mean_squared_error_per_sample(loss, shape):
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(2, *shape)).astype(np.float32)
    expected = [np.mean((p.astype(np.float64) - t) ** 2) for p, t in zip(prediction, target)]
    np.testing.assert_allclose(loss(jnp.asarray(prediction), jnp.asarray(target)), expected, rtol=1e-6)


def test_losses_are_float32_for_bfloat16_predictions():
    prediction = jnp.full((1, 1, 2, 2, 1), 1.0, jnp.bfloat16)
    target = jnp.full((1, 1, 2, 2, 1), 1.001, jnp.float32)
    value = denoising_loss(prediction, target)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, [1e-6], rtol=1e-3)


def _brute_force_identity(embeddings, target, mask):
    values = []
    for e, f, m in zip(embeddings, target, mask):
        frames = [np.mean(np.abs(e[t] - f[t])) for t in range(len(m)) if m[t]]
        values.append(np.mean(frames) if frames else 0.0)
    return values


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(2, 3, 4), (1, 5, 8)]))
def test_identity_loss_against_brute_force(seed, shape):
    rng = np.random.default_rng(seed)
    embeddings, target = rng.normal(size=(2, *shape)).astype(np.float32)
    mask = rng.integers(0, 2, shape[:2]).astype(np.float32)
    expected = _brute_force_identity(embeddings, target, mask)
    value = identity_loss(jnp.asarray(embeddings), jnp.asarray(target), jnp.asarray(mask))
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)


def test_a_clip_without_a_face_contributes_exactly_nothing():
    rng = np.random.default_rng(0)
    embeddings = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)
    # What stands in place of a missing embedding must not matter, not even when it is not a number.
    target = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32).at[0].set(jnp.nan)
    mask = jnp.asarray([[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    values, pullback = jax.vjp(lambda e: identity_loss(e, target, mask), embeddings)
    assert values[0] == 0.0
    assert values[1] > 0.0
    (gradient,) = pullback(jnp.ones(2))
    np.testing.assert_array_equal(gradient[0], 0.0)
    np.testing.assert_array_equal(gradient[1, 1], 0.0)
    assert np.all(gradient[1, 0] != 0.0)


def test_identity_loss_of_a_clip_does_not_depend_on_its_batch():
    rng = np.random.default_rng(1)
    embeddings, target = jnp.asarray(rng.normal(size=(2, 4, 3, 8)), jnp.float32)
    mask = jnp.asarray(rng.integers(0, 2, (4, 3)), jnp.float32)
    together = identity_loss(embeddings, target, mask)
    alone = [identity_loss(embeddings[i : i + 1], target[i : i + 1], mask[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)

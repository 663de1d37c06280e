"""What counts how much in the denoising loss: noise (min-SNR) and places (boxes), against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.diffusion.box_weights import BoxWeights, box_coverage
from sr_jax.diffusion.denoising_loss import denoising_loss, min_snr_weights
from sr_jax.diffusion.v_prediction import ScheduleConfig, VPrediction
from sr_jax.errors import UserError
from tests.toys.backbone import RectifiedFlow

SCHEDULES = [{}, {"snr_shift_scale": 3.0}, {"rescale_betas_zero_snr": False, "num_train_timesteps": 50}]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("gamma", [0.5, 5.0])
def test_min_snr_of_v_prediction_at_every_timestep(schedule, gamma):
    process = VPrediction(ScheduleConfig(**schedule))
    alphas = process.alphas_cumprod
    snr = alphas / (1 - alphas)
    times = jnp.arange(len(alphas))
    np.testing.assert_allclose(process.snr(times), snr, rtol=1e-6)
    weights = np.asarray(min_snr_weights(process, times, gamma))
    np.testing.assert_allclose(weights, np.minimum(snr, gamma) / (snr + 1), rtol=2e-6)
    assert np.isfinite(weights).all() and weights.max() <= gamma / (gamma + 1) + 1e-6
    assert (weights[-1] == 0) == process.config.rescale_betas_zero_snr
    # What the paper says: the loss of the clean latent counts min(SNR, gamma).
    rng = np.random.default_rng(0)
    zt, v, v_hat = rng.normal(size=(3, len(alphas)))
    clean, clean_hat = (np.sqrt(alphas) * zt - np.sqrt(1 - alphas) * x for x in (v, v_hat))
    expected = np.minimum(snr, gamma) * (clean_hat - clean) ** 2
    np.testing.assert_allclose(weights * (v_hat - v) ** 2, expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 5.0])
def test_min_snr_of_rectified_flow_has_its_own_factor(gamma):
    t = np.linspace(0, 1, 41)
    weights = min_snr_weights(RectifiedFlow(), jnp.asarray(t, jnp.float32), gamma)
    np.testing.assert_allclose(weights, np.minimum((1 - t) ** 2, gamma * t**2), rtol=1e-5, atol=1e-9)


def _sampled_coverage(boxes, height, width, samples=8):
    """Counts points of each place that lie in a box: exact for corners on the points' grid."""
    y = (np.arange(height * samples) + 0.5) / (height * samples)
    x = (np.arange(width * samples) + 0.5) / (width * samples)
    inside = np.zeros((*boxes.shape[:-1], height * samples, width * samples))
    for index in np.ndindex(boxes.shape[:-1]):
        x0, y0, x1, y1 = boxes[index]
        inside[index] = ((y > y0) & (y < y1))[:, None] & ((x > x0) & (x < x1))[None, :]
    shape = (*boxes.shape[:-1], height, samples, width, samples)
    return inside.reshape(shape).mean(axis=(-3, -1))


@pytest.mark.parametrize(("height", "width"), [(6, 9), (5, 3)])
def test_coverage_is_that_of_counted_points(height, width):
    rng = np.random.default_rng(0)
    # Corners on the points' grid, also beyond the edges of the picture.
    first = rng.integers(-8, 8 * np.array([width, height]), (4, 5, 2))
    size = rng.integers(1, 8 * np.array([width, height]) + 8, (4, 5, 2))
    boxes = np.concatenate([first, first + size], axis=-1) / (8 * np.array([width, height, width, height]))
    boxes[0, 0], boxes[0, 1], boxes[0, 2] = 0, [0, 0, 1, 1], [-1, 2, -0.5, 3]
    got = box_coverage(jnp.asarray(boxes, jnp.float32), height, width)
    assert got.shape == (4, 5, height, width)
    np.testing.assert_allclose(got, _sampled_coverage(boxes, height, width), atol=2e-6)
    np.testing.assert_array_equal(got[0, 0], 0)
    np.testing.assert_array_equal(got[0, 1], 1)
    np.testing.assert_array_equal(got[0, 2], 0)


def test_a_place_that_is_covered_in_part_counts_in_part():
    # Half of the second column and a quarter of its height; rows count y.
    weights = BoxWeights(10.0, 2.0).on_grid(jnp.asarray([0.75, 0.0, 1.0, 0.125]), 2, 2)
    np.testing.assert_allclose(weights, [[2.0, 2.0 + 8 * 0.125], [2.0, 2.0]])


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 1.0), (1.0, -1.0)])
def test_weights_that_leave_nothing_are_refused(weights):
    with pytest.raises(UserError, match="neither may be below 0, and one must be more"):
        BoxWeights(*weights)


@pytest.mark.parametrize("shape", [(2, 1, 2, 3, 1), (3, 4, 5, 6, 7)])
def test_the_weighted_loss_and_its_gradient(shape):
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(2, *shape)).astype(np.float32)
    weights = rng.uniform(size=shape[:-1]).astype(np.float32)
    weights[0, 0, 0] = 0
    error = prediction.astype(np.float64) - target
    total = weights.sum(axis=(1, 2, 3), dtype=np.float64)
    expected = (weights * (error**2).mean(axis=-1)).sum(axis=(1, 2, 3)) / total
    value, pullback = jax.vjp(lambda x: denoising_loss(x, jnp.asarray(target), jnp.asarray(weights)), prediction)
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    (gradient,) = pullback(jnp.ones(shape[0]))
    by_hand = 2 * error * weights[..., None] / shape[-1] / total[:, None, None, None, None]
    np.testing.assert_allclose(gradient, by_hand, rtol=2e-5, atol=1e-8)
    np.testing.assert_array_equal(gradient[0, 0, 0], 0)


def test_even_weights_are_the_plain_loss_and_none_are_no_loss():
    rng = np.random.default_rng(0)
    prediction, target = jnp.asarray(rng.normal(size=(2, 2, 3, 4, 5, 6)), jnp.float32)
    weights = jnp.full((2, 3, 4, 5), 0.3).at[1].set(0.0)
    value, pullback = jax.vjp(lambda x: denoising_loss(x, target, weights), prediction)
    np.testing.assert_allclose(value, [denoising_loss(prediction, target)[0], 0.0], rtol=1e-6)
    np.testing.assert_array_equal(pullback(jnp.ones(2))[0][1], 0)

"""The draw of times of a batch: each density against SciPy's distributions of the logit of a share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from sr_jax.diffusion.time_density import TimeDensity
from sr_jax.diffusion.v_prediction import ScheduleConfig, VPrediction
from sr_jax.errors import UserError

KEYS = jax.random.split(jax.random.key(3), 4000)
DENSITIES = [
    {},
    {"shift": 5.0},
    {"density": "logit_normal", "mean": -0.6, "std": 1.4, "shift": 3.0},
    {"shift": 5.3, "least": 0.875, "largest": 0.917},
    {"density": "logit_normal", "mean": 0.5, "std": 0.7, "shift": 2.0, "least": 0.251, "largest": 0.9},
]


class Reference:
    """The same density from its other side: a shift moves the logit of a share, which is logistic or normal."""

    def __init__(self, density="uniform", mean=0.0, std=1.0, shift=1.0, least=0.0, largest=1.0):
        kind, mean, std = (stats.logistic, 0.0, 1.0) if density == "uniform" else (stats.norm, mean, std)
        self.logit = kind(loc=mean + np.log(shift), scale=std)
        self.low, self.high = self.logit.cdf(special.logit([least, largest]))

    def quantile(self, probability):
        return special.expit(self.logit.ppf(self.low + (self.high - self.low) * np.asarray(probability, np.float64)))

    def cdf(self, share):
        return (self.logit.cdf(special.logit(np.asarray(share, np.float64))) - self.low) / (self.high - self.low)


def _draws(density: TimeDensity, batch_size: int, keys=KEYS) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(lambda key: density.sample(batch_size, key)))(keys))


@pytest.mark.parametrize("options", DENSITIES)
def test_quantiles_are_those_of_the_distribution(options):
    probability = np.concatenate([[1e-5], np.linspace(0.01, 0.99, 33), [0.9999]]).astype(np.float32)
    got = TimeDensity(**options).quantile(jnp.asarray(probability))
    np.testing.assert_allclose(got, Reference(**options).quantile(probability), atol=3e-6, rtol=3e-5)


@pytest.mark.parametrize("options", DENSITIES)
def test_each_draw_has_the_density_and_a_batch_one_in_each_part_of_equal_probability(options):
    shares = _draws(TimeDensity(**options), 7)
    assert shares.min() >= options.get("least", 0.0) and shares.max() < options.get("largest", 1.0)
    probabilities = Reference(**options).cdf(shares)
    assert _distance_from_uniform(probabilities) < 2.2 / np.sqrt(len(KEYS))
    assert _batches_in_strata(probabilities) > 0.999


@pytest.mark.parametrize("options", DENSITIES[1:3])
def test_independent_draws_have_the_density_and_are_independent(options):
    shares = _draws(TimeDensity(**options, stratified=False), 7)
    probabilities = Reference(**options).cdf(shares)
    assert _distance_from_uniform(probabilities) < 2.2 / np.sqrt(len(KEYS))
    assert np.abs(np.corrcoef(probabilities.T) - np.eye(7)).max() < 5 / np.sqrt(len(KEYS))
    # 7! / 7^7 of them by chance.
    assert _batches_in_strata(probabilities) < 0.02


def _distance_from_uniform(probabilities):
    """That of Kolmogorov and Smirnov, of the sample of a batch that is furthest; above 2.2 / sqrt(n) once in 8000."""
    return max(stats.kstest(column, "uniform").statistic for column in probabilities.T)


def _batches_in_strata(probabilities):
    """The part of all batches that have one draw in each part; rounding at the edges of these costs some."""
    size = probabilities.shape[1]
    return (np.sort(np.floor(probabilities * size), axis=1) == np.arange(size)).all(axis=1).mean()


@pytest.mark.parametrize(("batch_size", "num_train_timesteps"), [(1, 1000), (3, 1000), (8, 1000), (5, 20)])
def test_by_default_each_is_uniform_and_the_batch_is_spread_evenly(batch_size: int, num_train_timesteps: int):
    process = VPrediction(ScheduleConfig(num_train_timesteps=num_train_timesteps))
    shares = _draws(TimeDensity(), batch_size)
    timesteps = np.asarray(process.times_at(jnp.asarray(shares.ravel()))).reshape(shares.shape)

    assert timesteps.min() == 0 and timesteps.max() == num_train_timesteps - 1
    # The mean of 4000 draws that are uniform on [0, N): 5 standard errors.
    tolerance = 5 * num_train_timesteps / np.sqrt(12 * len(KEYS))
    np.testing.assert_allclose(timesteps.mean(axis=0), (num_train_timesteps - 1) / 2, atol=tolerance)
    # Neighbours on the circle of timesteps are N / batch_size apart, up to rounding.
    ordered = np.sort(timesteps, axis=1)
    gaps = np.diff(np.concatenate([ordered, ordered[:, :1] + num_train_timesteps], axis=1), axis=1)
    assert np.abs(gaps - num_train_timesteps / batch_size).max() <= 1


def test_whole_timesteps_reach_from_the_least_to_the_largest_and_no_further():
    ends = jnp.asarray([0.0, 1 - 2**-24], jnp.float32)
    for least, largest in [(0, 1000), (251, 253), (502, 511), (875, 1000), (875, 877), (0, 397)]:
        shares = TimeDensity(least=least / 1000, largest=largest / 1000).quantile(ends)
        np.testing.assert_array_equal(VPrediction().times_at(shares), [least, largest - 1])


def test_keys_give_different_times():
    draws = {tuple(row) for row in _draws(TimeDensity(), 4, KEYS[:20]).tolist()}
    assert len(draws) > 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": "beta"}, r"config\.times\.density is 'beta': choose one of uniform, logit_normal"),
        ({"least": 0.5, "largest": 0.5}, r"least=0\.5 and largest=0\.5: they must be shares"),
        ({"largest": 1.5}, r"largest=1\.5"),
        ({"std": 0.0}, r"std=0\.0 and shift=1\.0: both must be more than 0"),
        ({"density": "logit_normal", "mean": 9.0, "largest": 0.2}, r"has next to none: widen the range"),
    ],
)
def test_what_is_no_density_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        TimeDensity(**options)

"""The draw of timesteps of a batch."""

import jax
import numpy as np
import pytest

from sr_jax.diffusion.v_prediction import ScheduleConfig, VPrediction

KEYS = jax.random.split(jax.random.key(3), 4000)


@pytest.mark.parametrize(("batch_size", "num_train_timesteps"), [(1, 1000), (3, 1000), (8, 1000), (5, 20)])
def test_each_is_uniform_and_the_batch_is_spread_evenly(batch_size: int, num_train_timesteps: int):
    draw = jax.jit(
        jax.vmap(
            lambda key: VPrediction(ScheduleConfig(num_train_timesteps=num_train_timesteps)).sample_times(
                batch_size, key
            )
        )
    )
    timesteps = np.asarray(draw(KEYS))

    assert timesteps.min() == 0 and timesteps.max() == num_train_timesteps - 1
    # The mean of 4000 draws that are uniform on [0, N): 5 standard errors.
    tolerance = 5 * num_train_timesteps / np.sqrt(12 * len(KEYS))
    np.testing.assert_allclose(timesteps.mean(axis=0), (num_train_timesteps - 1) / 2, atol=tolerance)
    # Neighbours on the circle of timesteps are N / batch_size apart, up to rounding.
    ordered = np.sort(timesteps, axis=1)
    gaps = np.diff(np.concatenate([ordered, ordered[:, :1] + num_train_timesteps], axis=1), axis=1)
    assert np.abs(gaps - num_train_timesteps / batch_size).max() <= 1


def test_keys_give_different_timesteps():
    draws = {tuple(np.asarray(VPrediction().sample_times(4, key)).tolist()) for key in KEYS[:20]}
    assert len(draws) > 15

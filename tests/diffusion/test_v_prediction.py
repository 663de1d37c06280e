import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.diffusion.v_prediction import ScheduleConfig, VPrediction
from sr_jax.errors import UserError


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("zero_snr", [True, False])
def test_table_matches_diffusers(original, scale, zero_snr):
    expected = original("schedulers").alphas_cumprod(scale, zero_snr)
    got = VPrediction(ScheduleConfig(snr_shift_scale=scale, rescale_betas_zero_snr=zero_snr)).alphas_cumprod
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_released_constants_and_zero_terminal_snr():
    alphas = VPrediction().alphas_cumprod
    timesteps = [0, 100, 250, 500, 750, 900]
    np.testing.assert_allclose(alphas[timesteps], [0.99915, 0.88676, 0.65246, 0.24102, 0.0328, 0.00296], atol=5e-6)
    assert alphas[999] == 0 and np.all(np.diff(alphas) < 0)


def test_noise_and_velocity_match_diffusers(original):
    rng = np.random.default_rng(0)
    z0, noise = rng.uniform(-2, 2, (2, 4, 3, 2, 2, 5)).astype(np.float32)
    timesteps = np.array([0, 123, 600, 999])
    expected, schedule = original("schedulers").noisy_and_velocity(z0, noise, timesteps), VPrediction()
    for ours, theirs in zip((schedule.add_noise, schedule.target), expected, strict=True):
        # diffusers rounds the table to float32 before `1 - a`, which costs digits at timestep 0.
        np.testing.assert_allclose(ours(*map(jnp.asarray, (z0, noise, timesteps))), theirs, atol=1e-5)


def test_clean_and_noise_are_recovered_from_the_velocity():
    z0, noise = jax.random.normal(jax.random.key(0), (2, 1000, 1, 1, 1, 3))
    timesteps, schedule = jnp.arange(1000), VPrediction()
    zt, v = schedule.add_noise(z0, noise, timesteps), schedule.target(z0, noise, timesteps)
    np.testing.assert_allclose(schedule.predict_clean(zt, v, timesteps), z0, atol=2e-6)
    np.testing.assert_allclose(schedule.predict_noise(zt, v, timesteps), noise, atol=2e-6)
    # At zero SNR the noisy latent is the noise, and the clean latent is minus the velocity.
    np.testing.assert_array_equal(zt[999], noise[999])
    np.testing.assert_array_equal(v[999], -z0[999])


def test_results_are_float32_for_bfloat16_latents():
    z = jnp.ones((2, 1, 1, 1, 1), jnp.bfloat16)
    assert VPrediction().add_noise(z, z, jnp.array([0, 500])).dtype == jnp.float32


def test_a_timestep_that_a_schedule_lacks_is_no_number_instead_of_another_timestep():
    schedule = VPrediction(ScheduleConfig(num_train_timesteps=500))
    one = jnp.ones((2, 1))
    for method in (schedule.add_noise, schedule.target, schedule.predict_clean, schedule.predict_noise):
        got = np.asarray(jax.jit(method)(one, one, jnp.array([499, 500])))
        assert np.isfinite(got[0]).all() and np.isnan(got[1]).all()


def test_an_unknown_spacing_of_timesteps_is_refused():
    with pytest.raises(UserError, match="timestep_spacing is 'karras': choose one of trailing, linspace, leading"):
        VPrediction(ScheduleConfig(timestep_spacing="karras"))

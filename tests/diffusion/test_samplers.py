import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.diffusion.samplers import sample
from sr_jax.diffusion.v_prediction import ScheduleConfig, VPrediction, spaced_timesteps
from sr_jax.errors import UserError
from tests.comparison import relative_error
from tests.diffusion.stand_ins import checksum, step_noise, velocity

SHAPE = (2, 3, 2, 3, 2)
NOISE = np.random.default_rng(7).uniform(-2, 2, SHAPE).astype(np.float32)
SEED = 11
# 50 divides the 1000 training timesteps. 7 and 30 do not: the last of 7 steps ends short of the clean latent.
STEPS = (50, 7, 30)


def our_sample(process, seed=SEED, *, sampler="dpm", num_inference_steps):
    steps = process.steps(sampler, num_inference_steps)

    def denoise(zt, times, index):
        return velocity(jnp, zt, times[0].astype(jnp.float32))

    return jax.jit(lambda noise: sample(denoise, process, steps, noise, _fresh_noise(seed)))(jnp.asarray(NOISE))


def _fresh_noise(seed):
    return lambda index: jax.random.normal(jax.random.fold_in(jax.random.key(seed), index), SHAPE)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_trajectory_matches_diffusers(original, sampler, steps, scale):
    expected = original("schedulers").trajectory(sampler, scale, steps, NOISE, SEED)[-1]
    schedule = VPrediction(ScheduleConfig(snr_shift_scale=scale))
    got = our_sample(schedule, num_inference_steps=steps, sampler=sampler)
    assert relative_error(got, expected) < 1e-5


@pytest.mark.parametrize("spacing", ["linspace", "leading"])
@pytest.mark.parametrize("steps", [50, 7])
@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_other_timesteps_lead_where_those_of_diffusers_lead(original, sampler, steps, spacing):
    expected = original("schedulers").spaced(sampler, spacing, steps, NOISE, SEED)
    # The sampler, too, is that of the schedule where none is named.
    schedule = VPrediction(ScheduleConfig(sampler=sampler, timestep_spacing=spacing))
    assert relative_error(our_sample(schedule, num_inference_steps=steps, sampler=""), expected) < 1e-5


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("name", ["ddim", "dpm"])
def test_every_one_of_fifty_steps_matches_diffusers(original, name, scale):
    """Each from where diffusers is, so that no later step can hide an error."""
    latents = original("schedulers").trajectory(name, scale, 50, NOISE, SEED)
    schedule = VPrediction(ScheduleConfig(snr_shift_scale=scale))
    steps, clean_before = schedule.steps(name, 50), np.zeros(SHAPE, np.float32)
    for i, (t, z, expected) in enumerate(zip(steps.times, latents[:-1], latents[1:], strict=True)):
        prediction = velocity(np, z, np.float32(t))
        clean = schedule.predict_clean(jnp.asarray(z), jnp.asarray(prediction), jnp.full(len(z), int(t)))
        fresh = step_noise(SEED, i, SHAPE)
        ours = steps.keep[i] * z + steps.clean[i] * clean + steps.previous[i] * clean_before + steps.noise[i] * fresh
        assert relative_error(ours, expected) < 1e-5
        clean_before = clean


@pytest.mark.parametrize("steps", [1, 2, 7, 30, 48, 50, 1000])
@pytest.mark.parametrize("name", ["ddim", "dpm"])
def test_every_factor_is_finite_and_a_step_below_zero_returns_the_clean_prediction(name, steps):
    for zero_snr in (True, False):
        result = VPrediction(ScheduleConfig(rescale_betas_zero_snr=zero_snr)).steps(name, steps)
        factors = np.stack([result.keep, result.clean, result.previous, result.noise])
        assert factors.shape == (4, steps) and np.isfinite(factors).all()
        assert result.previous[0] == 0
        if result.times[-1] < 1000 // steps:
            np.testing.assert_allclose(factors[:, -1], [0, 1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("name", ["ddim", "dpm"])
def test_a_perfect_prediction_stays_on_the_marginal(name):
    """With the true clean latent predicted, a step leaves signal and noise as large as the schedule wants them."""
    schedule = VPrediction()
    steps = schedule.steps(name, 40)
    alpha = schedule.alphas_cumprod[steps.times]
    alpha_next = np.append(alpha[1:], 1.0)
    signal = steps.keep * np.sqrt(alpha) + steps.clean + steps.previous
    variance = steps.keep**2 * (1 - alpha) + steps.noise**2
    np.testing.assert_allclose(signal, np.sqrt(alpha_next), atol=1e-12)
    np.testing.assert_allclose(variance, 1 - alpha_next, atol=1e-12)


def test_timesteps_match_diffusers(original):
    counts = tuple(range(1, 1001))
    expected = original("schedulers").timestep_checksums(counts)
    np.testing.assert_array_equal([checksum(spaced_timesteps("trailing", 1000, count)) for count in counts], expected)


def test_fifty_steps_are_the_released_ones():
    timesteps = spaced_timesteps("trailing", 1000, 50)
    assert timesteps.tolist() == list(range(999, 0, -20))


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_a_network_that_knows_the_answer_gives_it_from_any_noise(sampler):
    schedule = VPrediction()
    answer = jax.random.normal(jax.random.key(0), SHAPE)
    signal, spread = (
        jnp.asarray(np.sqrt(a), jnp.float32) for a in (schedule.alphas_cumprod, 1 - schedule.alphas_cumprod)
    )

    def denoise(zt, times, index):
        t = times[0]
        return (signal[t] * zt - answer) / spread[t]

    got = sample(denoise, schedule, schedule.steps(sampler, 8), jnp.asarray(NOISE), _fresh_noise(1))
    np.testing.assert_allclose(got, answer, atol=1e-5)


def test_noise_follows_the_key_for_dpm_alone():
    runs = {
        (name, seed): our_sample(VPrediction(), seed, num_inference_steps=5, sampler=name)
        for name in ("ddim", "dpm")
        for seed in (11, 12)
    }
    np.testing.assert_array_equal(runs["ddim", 11], runs["ddim", 12])
    assert np.abs(runs["dpm", 11] - runs["dpm", 12]).max() > 1e-2


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="unknown sampler 'euler': choose one of ddim, dpm"):
        our_sample(VPrediction(), num_inference_steps=5, sampler="euler")
    for steps in (0, 1001):
        with pytest.raises(UserError, match=f"must be 1 to 1000, not {steps}"):
            our_sample(VPrediction(), num_inference_steps=steps)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler
from diffusers.schedulers import scheduling_dpm_cogvideox

from sr_jax.diffusion.samplers import ddim_steps, dpm_steps, sample, trailing_timesteps
from sr_jax.diffusion.v_prediction import ScheduleConfig, VPrediction
from sr_jax.errors import UserError

OPTIONS = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
}
SHAPE = (2, 3, 4, 5, 2)
# 50 divides the 1000 training timesteps. 7 and 30 do not: the last of 7 steps ends short of the clean latent.
STEPS = (50, 7, 30)


def velocity(xp, z, timestep):
    """A stand-in for a network: bounded, and different at every timestep."""
    return xp.tanh(1.7 * z + 0.002 * timestep) - 0.3 * xp.sin(3.0 * z)


def relative_error(ours, theirs) -> float:
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def our_sample(schedule, noise, key, **options):
    def denoise(zt, timesteps):
        return velocity(jnp, zt, timesteps[0].astype(jnp.float32))

    return jax.jit(lambda noise: sample(denoise, schedule, noise, key, **options))(noise)


def noise_and_key():
    return jax.random.normal(jax.random.key(7), SHAPE), jax.random.key(11)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("steps", STEPS)
def test_ddim_trajectory_matches_diffusers(scale, steps):
    noise, key = noise_and_key()
    scheduler = CogVideoXDDIMScheduler(**OPTIONS, snr_shift_scale=scale)
    scheduler.set_timesteps(steps)
    z = torch.from_numpy(np.array(noise))
    for t in scheduler.timesteps:
        z = scheduler.step(velocity(torch, z, t.float()), t, z, return_dict=False)[0]
    schedule = VPrediction(ScheduleConfig(snr_shift_scale=scale))
    got = our_sample(schedule, noise, key, num_inference_steps=steps, sampler="ddim")
    assert relative_error(got, z.numpy()) < 1e-5


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("steps", STEPS)
def test_dpm_trajectory_matches_diffusers(scale, steps, monkeypatch):
    noise, key = noise_and_key()
    scheduler = CogVideoXDPMScheduler(**OPTIONS, snr_shift_scale=scale)
    scheduler.set_timesteps(steps)
    z, clean_before, before = torch.from_numpy(np.array(noise)), None, None
    for index, t in enumerate(scheduler.timesteps):
        fresh = torch.from_numpy(np.array(jax.random.normal(jax.random.fold_in(key, index), SHAPE)))
        monkeypatch.setattr(scheduling_dpm_cogvideox, "randn_tensor", lambda *_, fresh=fresh, **__: fresh)
        prediction = velocity(torch, z, t.float())
        z, clean_before = scheduler.step(prediction, clean_before, t, before, z, return_dict=False)
        before = t
    schedule = VPrediction(ScheduleConfig(snr_shift_scale=scale))
    got = our_sample(schedule, noise, key, num_inference_steps=steps, sampler="dpm")
    assert relative_error(got, z.numpy()) < 1e-5


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("name", ["ddim", "dpm"])
def test_every_one_of_fifty_steps_matches_diffusers(name, scale, monkeypatch):
    """Each from where diffusers is, so that no later step can hide an error."""
    table, scheduler = {
        "ddim": (ddim_steps, CogVideoXDDIMScheduler),
        "dpm": (dpm_steps, CogVideoXDPMScheduler),
    }[name]
    scheduler = scheduler(**OPTIONS, snr_shift_scale=scale)
    scheduler.set_timesteps(50)
    schedule = VPrediction(ScheduleConfig(snr_shift_scale=scale))
    steps, rng = table(schedule, 50), np.random.default_rng(0)
    z, clean_before = rng.standard_normal(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    their_clean, before = None, None
    for i, t in enumerate(scheduler.timesteps):
        fresh = rng.standard_normal(SHAPE, np.float32)
        monkeypatch.setattr(
            scheduling_dpm_cogvideox, "randn_tensor", lambda *_, fresh=fresh, **__: torch.from_numpy(fresh)
        )
        prediction = velocity(np, z, np.float32(t))
        clean = schedule.predict_clean(jnp.asarray(z), jnp.asarray(prediction), jnp.full(len(z), int(t)))
        ours = steps.keep[i] * z + steps.clean[i] * clean + steps.previous[i] * clean_before + steps.noise[i] * fresh
        theirs, prediction = torch.from_numpy(z), torch.from_numpy(prediction)
        if name == "ddim":
            theirs = scheduler.step(prediction, t, theirs, return_dict=False)[0]
        else:
            theirs, their_clean = scheduler.step(prediction, their_clean, t, before, theirs, return_dict=False)
        assert relative_error(ours, theirs.numpy()) < 1e-5
        z, clean_before, before = theirs.numpy(), clean, t


@pytest.mark.parametrize("steps", [1, 2, 7, 30, 48, 50, 1000])
@pytest.mark.parametrize("table", [ddim_steps, dpm_steps])
def test_every_factor_is_finite_and_a_step_below_zero_returns_the_clean_prediction(table, steps):
    for zero_snr in (True, False):
        result = table(VPrediction(ScheduleConfig(rescale_betas_zero_snr=zero_snr)), steps)
        factors = np.stack([result.keep, result.clean, result.previous, result.noise])
        assert factors.shape == (4, steps) and np.isfinite(factors).all()
        assert result.previous[0] == 0
        if result.timesteps[-1] < 1000 // steps:
            np.testing.assert_allclose(factors[:, -1], [0, 1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("table", [ddim_steps, dpm_steps])
def test_a_perfect_prediction_stays_on_the_marginal(table):
    """With the true clean latent predicted, a step leaves signal and noise as large as the schedule wants them."""
    schedule = VPrediction()
    steps = table(schedule, 40)
    alpha = schedule.alphas_cumprod[steps.timesteps]
    alpha_next = np.append(alpha[1:], 1.0)
    signal = steps.keep * np.sqrt(alpha) + steps.clean + steps.previous
    variance = steps.keep**2 * (1 - alpha) + steps.noise**2
    np.testing.assert_allclose(signal, np.sqrt(alpha_next), atol=1e-12)
    np.testing.assert_allclose(variance, 1 - alpha_next, atol=1e-12)


def test_timesteps_match_diffusers():
    scheduler = CogVideoXDDIMScheduler(**OPTIONS)
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        # For 62 numbers of steps diffusers adds a timestep -1.
        np.testing.assert_array_equal(trailing_timesteps(1000, steps), scheduler.timesteps.numpy()[:steps])


def test_fifty_steps_are_the_released_ones():
    timesteps = trailing_timesteps(1000, 50)
    assert timesteps.tolist() == list(range(999, 0, -20))


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_a_network_that_knows_the_answer_gives_it_from_any_noise(sampler):
    schedule = VPrediction()
    answer = jax.random.normal(jax.random.key(0), SHAPE)
    signal, spread = (
        jnp.asarray(np.sqrt(a), jnp.float32) for a in (schedule.alphas_cumprod, 1 - schedule.alphas_cumprod)
    )

    def denoise(zt, timesteps):
        t = timesteps[0]
        return (signal[t] * zt - answer) / spread[t]

    got = sample(denoise, schedule, noise_and_key()[0], jax.random.key(1), num_inference_steps=8, sampler=sampler)
    np.testing.assert_allclose(got, answer, atol=1e-5)


def test_noise_follows_the_key_for_dpm_alone():
    noise, key = noise_and_key()
    other = jax.random.key(12)
    runs = {
        (name, i): our_sample(VPrediction(), noise, k, num_inference_steps=5, sampler=name)
        for name in ("ddim", "dpm")
        for i, k in enumerate((key, other))
    }
    np.testing.assert_array_equal(runs["ddim", 0], runs["ddim", 1])
    assert np.abs(runs["dpm", 0] - runs["dpm", 1]).max() > 1e-2


def test_bad_settings_are_refused():
    noise, key = noise_and_key()
    with pytest.raises(UserError, match="unknown sampler 'euler': choose one of ddim, dpm"):
        our_sample(VPrediction(), noise, key, num_inference_steps=5, sampler="euler")
    for steps in (0, 1001):
        with pytest.raises(UserError, match=f"must be 1 to 1000, not {steps}"):
            our_sample(VPrediction(), noise, key, num_inference_steps=steps)

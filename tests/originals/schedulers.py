"""The noise schedule and the samplers of diffusers."""

from unittest.mock import patch

import numpy as np
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler
from diffusers.schedulers import scheduling_dpm_cogvideox

from tests.diffusion.stand_ins import checksum, step_noise, velocity

OPTIONS = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
}
"""Of the released models."""


def alphas_cumprod(scale: float, zero_snr: bool) -> np.ndarray:
    """The table of the training timesteps `[1000]`."""
    options = OPTIONS | {"snr_shift_scale": scale, "rescale_betas_zero_snr": zero_snr}
    return CogVideoXDDIMScheduler(**options).alphas_cumprod.numpy()


def noisy_and_velocity(z0: np.ndarray, noise: np.ndarray, timesteps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noisy latents and velocities of clean latents and noise `[B, ...]` at timesteps `[B]`."""
    scheduler = CogVideoXDDIMScheduler(**OPTIONS, snr_shift_scale=1.0)
    tensors = tuple(map(torch.from_numpy, (z0, noise, timesteps)))
    return scheduler.add_noise(*tensors).numpy(), scheduler.get_velocity(*tensors).numpy()


def timestep_checksums(counts: tuple[int, ...]) -> np.ndarray:
    """For every number of steps, `checksum` of its timesteps, since all of them would be half a million numbers.

    For some numbers of steps, diffusers adds a timestep -1 at the end, after as many as were asked for; it is cut off.
    """
    scheduler = CogVideoXDDIMScheduler(**OPTIONS)
    sums = []
    for count in counts:
        scheduler.set_timesteps(count)
        sums.append(checksum(scheduler.timesteps.numpy()[:count]))
    return np.array(sums, np.uint32)


def trajectory(sampler: str, scale: float, steps: int, noise: np.ndarray, seed: int) -> np.ndarray:
    """Every latent `[steps + 1, *noise.shape]` on the way from noise to a clean one, with `velocity` for a network.

    Args:
        sampler: "ddim" or "dpm".
        scale: `snr_shift_scale` of the schedule.
        steps: Of the sampler.
        noise: To start from.
        seed: Of the noise that "dpm" adds in step `i`, which is `step_noise(seed, i, noise.shape)`.
    """
    scheduler = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}[sampler](
        **OPTIONS, snr_shift_scale=scale
    )
    scheduler.set_timesteps(steps)
    latents, clean_before, before = [torch.from_numpy(noise)], None, None
    for index, t in enumerate(scheduler.timesteps):
        prediction = velocity(torch, latents[-1], t.float())
        fresh = torch.from_numpy(step_noise(seed, index, noise.shape))
        if sampler == "ddim":
            after = scheduler.step(prediction, t, latents[-1], return_dict=False)[0]
        else:
            with patch.object(scheduling_dpm_cogvideox, "randn_tensor", lambda *_, fresh=fresh, **__: fresh):
                after, clean_before = scheduler.step(
                    prediction, clean_before, t, before, latents[-1], return_dict=False
                )
        latents.append(after)
        before = t
    return torch.stack(latents).numpy()


def spaced(sampler: str, spacing: str, steps: int, noise: np.ndarray, seed: int) -> np.ndarray:
    """The last latent of `trajectory`, with another `timestep_spacing` than that of the released models."""
    with patch.dict(OPTIONS, timestep_spacing=spacing):
        return trajectory(sampler, 1.0, steps, noise, seed)[-1]

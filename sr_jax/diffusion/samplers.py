"""DDIM and SDE-DPM-Solver++(2M): from noise to a clean latent.

A step of either sampler is linear: `z_next = keep * zt + clean * z0 + previous * z0_before + noise * fresh_noise`, with
`z0` the clean latent predicted now and `z0_before` the one predicted a step earlier. The coefficients depend on the
schedule only. They are computed on the host in float64, where the infinite log-SNR of the first and the last step is
harmless, so the compiled loop meets finite numbers only.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sr_jax.diffusion.process import NoiseSchedule
from sr_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of one sampling run, as 1-D arrays of `num_inference_steps` values.

    Attributes:
        timesteps: Training timesteps, falling from the last one.
        keep: Factor of the noisy latent.
        clean: Factor of the predicted clean latent.
        previous: Factor of the clean latent predicted one step earlier.
        noise: Factor of fresh unit noise.
    """

    timesteps: Int[np.ndarray, "n"]
    keep: Float[np.ndarray, "n"]
    clean: Float[np.ndarray, "n"]
    previous: Float[np.ndarray, "n"]
    noise: Float[np.ndarray, "n"]


def trailing_timesteps(num_train_timesteps: int, num_inference_steps: int) -> Int[np.ndarray, "n"]:
    """Evenly spaced timesteps that include the last one: 999, 979, ..., 19 for 50.

    These are diffusers' with `timestep_spacing="trailing"`, down to its rounding, which decides between two timesteps
    where the spacing is no whole number.

    Raises:
        UserError: If there are more steps than training timesteps, or none.
    """
    if not 1 <= num_inference_steps <= num_train_timesteps:
        raise UserError(f"num_inference_steps must be 1 to {num_train_timesteps}, not {num_inference_steps}")
    spaced = np.arange(num_train_timesteps, 0, -num_train_timesteps / num_inference_steps)
    # By its rounding `arange` may give one number too many, near 0.
    return np.round(spaced[:num_inference_steps]).astype(np.int64) - 1


def ddim_steps(schedule: NoiseSchedule, num_inference_steps: int) -> Steps:
    """Deterministic DDIM (diffusers: `CogVideoXDDIMScheduler`).

    Every step leads `num_train_timesteps // num_inference_steps` timesteps down, and from there below 0 to the clean
    latent. Where the division leaves a remainder, a step therefore ends a little above the timestep where the next one
    takes it to be, and the last one may end just short of clean. So do the released pipelines, and so do we.
    """
    timesteps, alpha, alpha_next = _alphas(schedule, num_inference_steps)
    keep = np.sqrt((1 - alpha_next) / (1 - alpha))
    zero = np.zeros_like(keep)
    return Steps(timesteps, keep, np.sqrt(alpha_next) - np.sqrt(alpha) * keep, zero, zero)


def dpm_steps(schedule: NoiseSchedule, num_inference_steps: int) -> Steps:
    """Stochastic second-order multistep solver (diffusers: `CogVideoXDPMScheduler`; Lu et al. 2022, algorithm 2).

    The first step is of first order, and so is one that leads to the clean latent. Steps lead where those of
    `ddim_steps` lead.
    """
    timesteps, alpha, alpha_next = _alphas(schedule, num_inference_steps)
    with np.errstate(divide="ignore"):
        log_snr, log_snr_next = (0.5 * (np.log(a) - np.log1p(-a)) for a in (alpha, alpha_next))
    gap = log_snr_next - log_snr
    keep = np.sqrt((1 - alpha_next) / (1 - alpha)) * np.exp(-gap)
    clean = -np.expm1(-2 * gap) * np.sqrt(alpha_next)
    # Half the ratio of this gap to the one between the last two predictions: how far to extrapolate. 0 where either is
    # infinite or absent.
    extrapolation = np.zeros_like(gap)
    finite = np.isfinite(gap[1:])
    extrapolation[1:][finite] = gap[1:][finite] / (2 * np.diff(log_snr)[finite])
    noise = np.sqrt((1 - alpha_next) * -np.expm1(-2 * gap))
    return Steps(timesteps, keep, clean * (1 + extrapolation), -clean * extrapolation, noise)


def sample(
    denoise: Callable[[Float[Array, "b t h w c"], Int[Array, "b"]], Float[Array, "b t h w c"]],
    schedule: NoiseSchedule,
    noise: Float[Array, "b t h w c"],
    key: jax.Array,
    *,
    num_inference_steps: int,
    sampler: str = "dpm",
) -> Float[Array, "b t h w c"]:
    """Draws clean latents; one scan, so that the network is compiled once.

    Args:
        denoise: From noisy latents and training timesteps to the predicted velocity, guidance included.
        schedule: The noise schedule.
        noise: Unit Gaussian noise to start from.
        key: Of the noise that "dpm" adds; step `i` uses `fold_in(key, i)`.
        num_inference_steps: Evaluations of `denoise`; 50 is what the released models are used with.
        sampler: "ddim" (recommended for 2B) or "dpm" (for 5B and later).

    Returns:
        Float32 clean latents.

    Raises:
        UserError: For an unknown sampler or an impossible number of steps.
    """
    check_sampler(sampler)
    steps = _SAMPLERS[sampler](schedule, num_inference_steps)
    stochastic = bool(steps.noise.any())

    def step(carry: tuple[Array, Array], inputs: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        (zt, previous), (index, timestep, (keep, clean, before, fresh)) = carry, inputs
        timesteps = jnp.full((zt.shape[0],), timestep)
        z0 = schedule.predict_clean(zt, denoise(zt, timesteps), timesteps)
        z_next = keep * zt + clean * z0 + before * previous
        if stochastic:
            z_next = z_next + fresh * jax.random.normal(jax.random.fold_in(key, index), zt.shape)
        return (z_next, z0), None

    factors = np.stack([steps.keep, steps.clean, steps.previous, steps.noise], axis=1).astype(np.float32)
    inputs = (jnp.arange(num_inference_steps), jnp.asarray(steps.timesteps, jnp.int32), jnp.asarray(factors))
    start = noise.astype(jnp.float32)
    (z0, _), _ = jax.lax.scan(step, (start, jnp.zeros_like(start)), inputs)
    return z0


def check_sampler(name: str) -> None:
    """Checks the name of a sampler.

    Raises:
        UserError: For an unknown one.
    """
    if name not in _SAMPLERS:
        raise UserError(f"unknown sampler {name!r}: choose one of {', '.join(_SAMPLERS)}")


_SAMPLERS = {"ddim": ddim_steps, "dpm": dpm_steps}


def _alphas(schedule: NoiseSchedule, num_inference_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Timesteps, and the cumulative products of alphas where each step starts and where it leads."""
    num_train_timesteps = schedule.config.num_train_timesteps
    timesteps = trailing_timesteps(num_train_timesteps, num_inference_steps)
    targets = timesteps - num_train_timesteps // num_inference_steps
    alphas = schedule.alphas_cumprod
    return timesteps, alphas[timesteps], np.where(targets < 0, 1.0, alphas[targets])

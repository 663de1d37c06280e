"""v-prediction on a variance-preserving noise schedule: clean latent, noise and velocity, and their samplers.

With `a` the cumulative product of alphas at a timestep: `zt = sqrt(a) z0 + sqrt(1 - a) noise` and
`v = sqrt(a) noise - sqrt(1 - a) z0`. The tables are computed on the host in float64 (as diffusers does) and used in
float32; a result is float32 even where a latent is bfloat16.
"""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sr_jax.diffusion.process import Steps
from sr_jax.errors import UserError

NUM_BINS = 5
"""Ranges of timesteps in which losses are logged."""
SPACINGS = ("trailing", "linspace", "leading")
"""How the timesteps of a sampler can be spread; see `spaced_timesteps`."""


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """The schedule, with diffusers' names; the defaults are those of CogVideoX-5B, -5B-I2V and -1.5.

    All but the last two are constants that a network is trained with.

    Attributes:
        num_train_timesteps: Timesteps of training.
        beta_start: First noise variance; the square roots are spaced evenly ("scaled_linear").
        beta_end: Last noise variance.
        snr_shift_scale: Divides the signal-to-noise ratio; 3 for CogVideoX-2B.
        rescale_betas_zero_snr: Whether the last timestep is pure noise (Lin et al. 2024, algorithm 1).
        sampler: What to sample with where nobody says otherwise: "ddim" (CogVideoX-2B) or "dpm" (5B and later).
        timestep_spacing: Which timesteps a sampler takes, one of `SPACINGS`.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    snr_shift_scale: float = 1.0
    rescale_betas_zero_snr: bool = True
    sampler: str = "dpm"
    timestep_spacing: str = "trailing"


class VPrediction:
    """The process of CogVideoX: tables of a schedule, and what follows from them. Times are whole timesteps, int32.

    Attributes:
        config: The constants.
        clean_time: 0, whose latents have hardly any noise.
        noise_time: The number of timesteps.
        sampler: That of the schedule.
        constants: What a network is trained with.
        alphas_cumprod: Float64 `[num_train_timesteps]`, from nearly 1 (clean) to 0 (pure noise).
    """

    def __init__(self, config: ScheduleConfig = ScheduleConfig()):
        """Computes the tables (diffusers: `CogVideoXDDIMScheduler.__init__`).

        Raises:
            UserError: For an unknown spacing of timesteps.
        """
        if config.timestep_spacing not in SPACINGS:
            raise UserError(f"timestep_spacing is {config.timestep_spacing!r}: choose one of {', '.join(SPACINGS)}")
        self.config, self.sampler = config, config.sampler
        self.constants = dataclasses.asdict(config)
        del self.constants["sampler"], self.constants["timestep_spacing"]
        self.clean_time, self.noise_time = 0, config.num_train_timesteps
        betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.num_train_timesteps) ** 2
        alphas = np.cumprod(1 - betas)
        alphas = alphas / (config.snr_shift_scale + (1 - config.snr_shift_scale) * alphas)
        if config.rescale_betas_zero_snr:
            signal = np.sqrt(alphas)
            alphas = ((signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))) ** 2
        self.alphas_cumprod = alphas
        self._signal = np.sqrt(alphas).astype(np.float32)
        self._noise = np.sqrt(1 - alphas).astype(np.float32)
        self._snr = (alphas / (1 - alphas)).astype(np.float32)

    def times_at(self, shares: Float[Array, "b"]) -> Int[Array, "b"]:
        """Whole timesteps, `floor(share * num_train_timesteps)`: uniform shares give each one as often."""
        number = self.config.num_train_timesteps
        # The product can round up to the number of timesteps.
        return jnp.minimum((shares * number).astype(jnp.int32), number - 1)

    def snr(self, timesteps: Int[Array, "b"]) -> Float[Array, "b"]:
        """Signal-to-noise ratio `a / (1 - a)`; 0 at the last timestep where that is pure noise."""
        return _at(self._snr, timesteps)

    def bins(self) -> dict[str, tuple[int, int]]:
        """Even ranges of timesteps."""
        edges = [self.config.num_train_timesteps * i // NUM_BINS for i in range(NUM_BINS + 1)]
        return {f"t{low:03d}-{high:03d}": (low, high) for low, high in itertools.pairwise(edges)}

    def steps(self, sampler: str, num_inference_steps: int) -> Steps:
        """Those of "ddim" (recommended for CogVideoX-2B) or "dpm" (for 5B and later); of the schedule's own when empty.

        Raises:
            UserError: For an unknown sampler; if there are more steps than training timesteps, or none.
        """
        sampler = sampler or self.sampler
        if sampler not in _SAMPLERS:
            raise UserError(f"unknown sampler {sampler!r}: choose one of {', '.join(_SAMPLERS)}")
        timesteps = spaced_timesteps(self.config.timestep_spacing, len(self.alphas_cumprod), num_inference_steps)
        return _SAMPLERS[sampler](self.alphas_cumprod, timesteps)

    def add_noise(
        self, z0: Float[Array, "b *shape"], noise: Float[Array, "b *shape"], timesteps: Int[Array, "b"]
    ) -> Float[Array, "b *shape"]:
        """The noisy latent `zt`."""
        signal_scale, noise_scale = self._scales(timesteps, z0.ndim)
        return signal_scale * z0 + noise_scale * noise

    def target(
        self, z0: Float[Array, "b *shape"], noise: Float[Array, "b *shape"], timesteps: Int[Array, "b"]
    ) -> Float[Array, "b *shape"]:
        """The velocity `v`: what the transformer learns to predict."""
        signal_scale, noise_scale = self._scales(timesteps, z0.ndim)
        return signal_scale * noise - noise_scale * z0

    def predict_clean(
        self, zt: Float[Array, "b *shape"], v: Float[Array, "b *shape"], timesteps: Int[Array, "b"]
    ) -> Float[Array, "b *shape"]:
        """The clean latent `z0` that a noisy latent and a velocity imply."""
        signal_scale, noise_scale = self._scales(timesteps, zt.ndim)
        return signal_scale * zt - noise_scale * v

    def predict_noise(
        self, zt: Float[Array, "b *shape"], v: Float[Array, "b *shape"], timesteps: Int[Array, "b"]
    ) -> Float[Array, "b *shape"]:
        """The noise that a noisy latent and a velocity imply."""
        signal_scale, noise_scale = self._scales(timesteps, zt.ndim)
        return signal_scale * v + noise_scale * zt

    def _scales(self, timesteps: Int[Array, "b"], ndim: int) -> tuple[Array, Array]:
        shape = (-1, *[1] * (ndim - 1))
        return _at(self._signal, timesteps).reshape(shape), _at(self._noise, timesteps).reshape(shape)


def spaced_timesteps(spacing: str, num_train_timesteps: int, num_inference_steps: int) -> Int[np.ndarray, "n"]:
    """The timesteps of a sampling run, falling.

    - "trailing": evenly spaced, with the last one: 999, 979, ..., 19 for 50. What released models are sampled with.
    - "linspace": evenly spaced, with the last and the first one: 999, 979, ..., 20, 0.
    - "leading": multiples of a whole number, with the first one: 980, 960, ..., 0.

    These are diffusers', down to its rounding, which decides between two timesteps where the spacing is no whole
    number.

    Raises:
        UserError: If there are more steps than training timesteps, or none.
    """
    if not 1 <= num_inference_steps <= num_train_timesteps:
        raise UserError(f"num_inference_steps must be 1 to {num_train_timesteps}, not {num_inference_steps}")
    if spacing == "linspace":
        return np.linspace(0, num_train_timesteps - 1, num_inference_steps).round()[::-1].astype(np.int64)
    if spacing == "leading":
        return np.arange(num_inference_steps)[::-1] * (num_train_timesteps // num_inference_steps)
    spaced = np.arange(num_train_timesteps, 0, -num_train_timesteps / num_inference_steps)
    # By its rounding `arange` may give one number too many, near 0.
    return np.round(spaced[:num_inference_steps]).astype(np.int64) - 1


def ddim_steps(alphas_cumprod: Float[np.ndarray, " timesteps"], timesteps: Int[np.ndarray, " n"]) -> Steps:
    """Deterministic DDIM (diffusers: `CogVideoXDDIMScheduler`).

    Every step leads `num_train_timesteps // num_inference_steps` timesteps down, and from there below 0 to the clean
    latent. Where the division leaves a remainder, a step therefore ends a little above the timestep where the next one
    takes it to be, and the last one may end just short of clean. So do the released pipelines, and so do we.
    """
    alpha, alpha_next = _alphas(alphas_cumprod, timesteps)
    keep = np.sqrt((1 - alpha_next) / (1 - alpha))
    zero = np.zeros_like(keep)
    return Steps(timesteps.astype(np.int32), keep, np.sqrt(alpha_next) - np.sqrt(alpha) * keep, zero, zero)


def dpm_steps(alphas_cumprod: Float[np.ndarray, " timesteps"], timesteps: Int[np.ndarray, " n"]) -> Steps:
    """Stochastic second-order multistep solver (diffusers: `CogVideoXDPMScheduler`; Lu et al. 2022, algorithm 2).

    The first step is of first order, and so is one that leads to the clean latent. Steps lead where those of
    `ddim_steps` lead.
    """
    alpha, alpha_next = _alphas(alphas_cumprod, timesteps)
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
    return Steps(timesteps.astype(np.int32), keep, clean * (1 + extrapolation), -clean * extrapolation, noise)


_SAMPLERS = {"ddim": ddim_steps, "dpm": dpm_steps}


def _at(table: Float[np.ndarray, " timesteps"], timesteps: Int[Array, "b"]) -> Float[Array, "b"]:
    """What a table has for timesteps.

    NaN, which does not pass unnoticed, for one that this schedule lacks: by itself JAX takes the last.
    """
    return jnp.asarray(table).at[timesteps].get(mode="fill", fill_value=jnp.nan)


def _alphas(alphas_cumprod: np.ndarray, timesteps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cumulative products of alphas where each step starts and where it leads."""
    targets = timesteps - len(alphas_cumprod) // len(timesteps)
    return alphas_cumprod[timesteps], np.where(targets < 0, 1.0, alphas_cumprod[targets])

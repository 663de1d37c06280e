"""The noise schedule of CogVideoX and the conversions between clean latent, noise and velocity.

With `a` the cumulative product of alphas at a timestep: `zt = sqrt(a) z0 + sqrt(1 - a) noise` and
`v = sqrt(a) noise - sqrt(1 - a) z0`. The tables are computed on the host in float64 (as diffusers does) and used in
float32; a result is float32 even where a latent is bfloat16.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """Constants of the schedule, with diffusers' names; the defaults are those of CogVideoX-5B, -5B-I2V and -1.5.

    Attributes:
        num_train_timesteps: Timesteps of training.
        beta_start: First noise variance; the square roots are spaced evenly ("scaled_linear").
        beta_end: Last noise variance.
        snr_shift_scale: Divides the signal-to-noise ratio; 3 for CogVideoX-2B.
        rescale_betas_zero_snr: Whether the last timestep is pure noise (Lin et al. 2024, algorithm 1).
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    snr_shift_scale: float = 1.0
    rescale_betas_zero_snr: bool = True


class NoiseSchedule:
    """Tables of a schedule, and what follows from them.

    Attributes:
        config: The constants.
        alphas_cumprod: Float64 `[num_train_timesteps]`, from nearly 1 (clean) to 0 (pure noise).
    """

    def __init__(self, config: ScheduleConfig = ScheduleConfig()):
        """Computes the tables (diffusers: `CogVideoXDDIMScheduler.__init__`)."""
        self.config = config
        betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.num_train_timesteps) ** 2
        alphas = np.cumprod(1 - betas)
        alphas = alphas / (config.snr_shift_scale + (1 - config.snr_shift_scale) * alphas)
        if config.rescale_betas_zero_snr:
            signal = np.sqrt(alphas)
            alphas = ((signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))) ** 2
        self.alphas_cumprod = alphas
        self._signal = np.sqrt(alphas).astype(np.float32)
        self._noise = np.sqrt(1 - alphas).astype(np.float32)

    def add_noise(
        self, z0: Float[Array, "b *shape"], noise: Float[Array, "b *shape"], timesteps: Int[Array, "b"]
    ) -> Float[Array, "b *shape"]:
        """The noisy latent `zt`."""
        signal_scale, noise_scale = self._scales(timesteps, z0.ndim)
        return signal_scale * z0 + noise_scale * noise

    def velocity(
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
        return tuple(jnp.asarray(table)[timesteps].reshape(shape) for table in (self._signal, self._noise))

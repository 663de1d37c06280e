"""From noise to a clean latent, by the steps of any sampler of any process."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from sr_jax.diffusion.process import Process, Steps


def sample(
    denoise: Callable[[Float[Array, "b t h w c"], Shaped[Array, " b"], Int[Array, ""]], Float[Array, "b t h w c"]],
    process: Process,
    steps: Steps,
    noise: Float[Array, "b t h w c"],
    fresh_noise: Callable[[Int[Array, ""]], Float[Array, "b t h w c"]],
) -> Float[Array, "b t h w c"]:
    """Draws clean latents; one scan, so that the network is compiled once.

    The factors of the steps are computed on the host in float64, where the infinite log-SNR of a first or last step is
    harmless, so the compiled loop meets finite numbers only.

    Args:
        denoise: From noisy latents, their times and the number of the step to the network's prediction, guidance
            included.
        process: What the network predicts.
        steps: `process.steps`.
        noise: Unit Gaussian noise to start from.
        fresh_noise: Unit Gaussian noise that a step adds, by its number; asked for by samplers that add any.

    Returns:
        Float32 clean latents.
    """
    stochastic = bool(steps.noise.any())

    def step(carry: tuple[Array, Array], inputs: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        (zt, previous), (index, time, (keep, clean, before, fresh)) = carry, inputs
        times = jnp.full((zt.shape[0],), time)
        z0 = process.predict_clean(zt, denoise(zt, times, index), times)
        z_next = keep * zt + clean * z0 + before * previous
        if stochastic:
            z_next = z_next + fresh * fresh_noise(index)
        return (z_next, z0), None

    factors = np.stack([steps.keep, steps.clean, steps.previous, steps.noise], axis=1).astype(np.float32)
    inputs = (jnp.arange(len(steps.times)), jnp.asarray(steps.times), jnp.asarray(factors))
    start = noise.astype(jnp.float32)
    (z0, _), _ = jax.lax.scan(step, (start, jnp.zeros_like(start)), inputs)
    return z0

"""L_t, the denoising loss, and what it counts at which noise."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from sr_jax.diffusion.process import Process


def denoising_loss(
    velocity: Float[Array, "b t h w c"],
    target: Float[Array, "b t h w c"],
    weights: Float[Array, "b t h w"] | None = None,
) -> Float[Array, "b"]:
    """`L_t`: mean squared error of the predicted velocity, for each sample.

    This equals the loss of the CogVideoX trainers, `mean((z0_hat - z0)^2 / (1 - a_t))`, because
    `z0_hat - z0 = -sqrt(1 - a_t) (v_hat - v)`; computed in `v` it never divides by a vanishing `1 - a_t`.

    Args:
        velocity: The transformer's prediction `v_hat`, any float type; the loss is float32.
        target: `v = sqrt(a_t) eps - sqrt(1 - a_t) z0`.
        weights: Of a weighted mean over each sample's places, at least 0: only their ratios count. A sample with none
            above 0 gives 0. None: all places count the same.
    """
    error = velocity.astype(jnp.float32) - target.astype(jnp.float32)
    if weights is None:
        return jnp.mean(jnp.square(error), axis=(1, 2, 3, 4))
    total = jnp.sum(weights, axis=(1, 2, 3))
    weighted = jnp.sum(weights * jnp.mean(jnp.square(error), axis=-1), axis=(1, 2, 3))
    return weighted / jnp.where(total > 0, total, 1.0)


def min_snr_weights(process: Process, times: Shaped[Array, " b"], gamma: float) -> Float[Array, "b"]:
    """What each sample's denoising loss counts: min-SNR weighting, `min(SNR, gamma)` of the clean latent's loss.

    Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", section 3.4. With `r` the squared
    error of the clean latent that a squared error 1 of the prediction is, the weight is `min(SNR, gamma) r`:

    - v-prediction: `r = 1 - a = 1 / (SNR + 1)`, so `min(SNR, gamma) / (SNR + 1)` (the same in diffusers' trainers);
    - rectified flow, `zt = (1 - t) z0 + t eps` and `eps - z0`: `r = t^2`, so `min((1 - t)^2, gamma t^2)`.

    It is finite everywhere, and 0 for pure noise: with a zero terminal SNR the last timestep trains nothing. Weights
    are below `gamma / (gamma + 1)` and are not brought to a mean of 1, as in the paper.

    Args:
        process: Of the times.
        times: Of each sample.
        gamma: More than 0; 5 in the paper.
    """
    one = jnp.ones((len(times), 1, 1, 1, 1))
    # The clean latent is linear in the prediction, whatever that is of: where all else is 0, this is the factor.
    factor = process.predict_clean(0 * one, one, times)[:, 0, 0, 0, 0]
    return jnp.minimum(process.snr(times), gamma) * jnp.square(factor)

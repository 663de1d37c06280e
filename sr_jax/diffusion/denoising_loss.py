"""L_t, the denoising loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def denoising_loss(velocity: Float[Array, "b t h w c"], target: Float[Array, "b t h w c"]) -> Float[Array, "b"]:
    """`L_t`: mean squared error of the predicted velocity, for each sample.

    This equals the loss of the CogVideoX trainers, `mean((z0_hat - z0)^2 / (1 - a_t))`, because
    `z0_hat - z0 = -sqrt(1 - a_t) (v_hat - v)`; computed in `v` it never divides by a vanishing `1 - a_t`.

    Args:
        velocity: The transformer's prediction `v_hat`, any float type; the loss is float32.
        target: `v = sqrt(a_t) eps - sqrt(1 - a_t) z0`.
    """
    error = velocity.astype(jnp.float32) - target.astype(jnp.float32)
    return jnp.mean(jnp.square(error), axis=(1, 2, 3, 4))

"""L_S, the structure alignment loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def structure_loss(depth_latents: Float[Array, "b t h w c"], target: Float[Array, "b t h w c"]) -> Float[Array, "b"]:
    """`L_S`: mean squared error between predicted and teacher depth latents, for each sample.

    SemanticREPA, stage one: `mean((f_S(z0) - d0)^2)`; stage two: `mean((f_S(z0_hat) - d0)^2)`.

    Args:
        depth_latents: The structure module's output.
        target: `d0`, the latent of the coloured depth video.
    """
    error = depth_latents.astype(jnp.float32) - target.astype(jnp.float32)
    return jnp.mean(jnp.square(error), axis=(1, 2, 3, 4))

"""Classifier-free guidance (Ho & Salimans 2022), constant or dynamic."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sr_jax.errors import UserError

NUM_TRAIN_TIMESTEPS = 1000
DYNAMIC_GUIDANCE = ("none", "released", "cosine")
"""The kinds of dynamic guidance; see `guidance_scale_at`."""


def guidance_scale_at(
    timesteps: Int[Array, "*b"],
    kind: str,
    scale: float,
    num_inference_steps: int,
) -> Float[Array, "*b"]:
    """Guidance scale at a training timestep.

    With `p` the progress, the dynamic scale is `1 + scale * (1 - cos(pi * p ** 5)) / 2`.

    - "released": `p = (N - t) / N` of N inference steps, although t is a training timestep, as in the released
      pipelines. The scale oscillates between 1 and `1 + scale`; the authors say that this helps and keep it.
    - "cosine": `p = (1000 - t) / 1000`: what the formula seems meant to be, rising from 1 to `1 + scale`.
    - "none": `scale` throughout.

    Args:
        timesteps: Training timesteps, 0 to 999, traced or not.
        kind: Which of the above, one of `DYNAMIC_GUIDANCE`.
        scale: The strength; 6 in the released pipelines.
        num_inference_steps: Steps of the sampling run.

    Raises:
        UserError: For an unknown kind.
    """
    # A table, because "released" takes the cosine of numbers near 10^7: in float32 it would be noise.
    return jnp.asarray(_guidance_table(kind, scale, num_inference_steps), jnp.float32)[timesteps]


def classifier_free(
    denoise: Callable[[Array, Array, Any], Array],
    conditional: Any,
    unconditional: Any,
    scale_at: Callable[[Int[Array, "b"]], Float[Array, "b"]],
) -> Callable[[Array, Array], Array]:
    """A guided `denoise(zt, timesteps)` for `samplers.sample`, with both predictions in one batch.

    Args:
        denoise: Velocity from noisy latents, timesteps and a condition.
        conditional: Condition wanted: any tree of arrays whose first axis is the batch.
        unconditional: The same without what guidance should strengthen (I2V: an empty prompt, and the same image).
        scale_at: Guidance scale at the timesteps; see `guidance_scale_at`.
    """
    condition = jax.tree.map(lambda *pair: jnp.concatenate(pair), unconditional, conditional)

    def guided(zt: Array, timesteps: Array) -> Array:
        both = denoise(jnp.concatenate([zt, zt]), jnp.concatenate([timesteps, timesteps]), condition)
        without, wanted = jnp.split(both.astype(jnp.float32), 2)
        scale = scale_at(timesteps).reshape(-1, *[1] * (zt.ndim - 1))
        return without + scale * (wanted - without)

    return guided


def check_dynamic_guidance(kind: str) -> None:
    """Checks the name of a kind.

    Raises:
        UserError: For an unknown kind.
    """
    if kind not in DYNAMIC_GUIDANCE:
        raise UserError(f"dynamic_guidance is {kind!r}: choose one of {', '.join(DYNAMIC_GUIDANCE)}")


def _guidance_table(kind: str, scale: float, num_inference_steps: int) -> np.ndarray:
    check_dynamic_guidance(kind)
    timesteps = np.arange(NUM_TRAIN_TIMESTEPS, dtype=np.float64)
    if kind == "none":
        return np.full_like(timesteps, scale)
    unit = num_inference_steps if kind == "released" else NUM_TRAIN_TIMESTEPS
    progress = (unit - timesteps) / unit
    return 1 + scale * (1 - np.cos(np.pi * progress**5)) / 2

"""Classifier-free guidance (Ho & Salimans 2022), constant or dynamic."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from sr_jax.errors import UserError

DYNAMIC_GUIDANCE = ("none", "released", "cosine")
"""The kinds of dynamic guidance; see `guidance_scales`."""


def guidance_scales(
    times: Shaped[np.ndarray, " n"], kind: str, scale: float, *, noise_time: float | int
) -> Float[np.ndarray, " n"]:
    """Guidance scale at each step of a sampling run.

    With `p` the progress, the dynamic scale is `1 + scale * (1 - cos(pi * p ** 5)) / 2`.

    - "released": `p = (n - t) / n` of n steps, although t is a training timestep, as in the released pipelines. The
      scale oscillates between 1 and `1 + scale`; the authors say that this helps and keep it.
    - "cosine": `p = (T - t) / T`: what the formula seems meant to be, rising from 1 to `1 + scale`.
    - "none": `scale` throughout.

    Args:
        times: Of the steps (`Steps.times`).
        kind: Which of the above, one of `DYNAMIC_GUIDANCE`.
        scale: The strength; 6 in the released pipelines.
        noise_time: T, the time of pure noise (`Process.noise_time`).

    Raises:
        UserError: For an unknown kind.
    """
    check_dynamic_guidance(kind)
    # On the host, because "released" takes the cosine of numbers near 10^7: in float32 it would be noise.
    times = np.asarray(times, np.float64)
    if kind == "none":
        return np.full(times.shape, scale, np.float32)
    unit = len(times) if kind == "released" else noise_time
    progress = (unit - times) / unit
    return (1 + scale * (1 - np.cos(np.pi * progress**5)) / 2).astype(np.float32)


def classifier_free(
    denoise: Callable[[Array, Array, Any], Array],
    conditional: Any,
    unconditional: Any,
    scales: Float[np.ndarray, " n"],
) -> Callable[[Array, Array, Array], Array]:
    """A guided `denoise(zt, times, index)` for `samplers.sample`, with both predictions in one batch.

    Args:
        denoise: The network's prediction from noisy latents, times and a condition.
        conditional: Condition wanted: any tree of arrays whose first axis is the batch.
        unconditional: The same without what guidance should strengthen (I2V: an empty prompt, and the same image).
        scales: Guidance scale at each step; see `guidance_scales`.
    """
    condition = jax.tree.map(lambda *pair: jnp.concatenate(pair), unconditional, conditional)

    def guided(zt: Array, times: Array, index: Array) -> Array:
        both = denoise(jnp.concatenate([zt, zt]), jnp.concatenate([times, times]), condition)
        without, wanted = jnp.split(both.astype(jnp.float32), 2)
        # NaN, which does not pass unnoticed, where a step has no scale: by itself JAX takes the last one.
        scale = jnp.asarray(scales).at[index].get(mode="fill", fill_value=jnp.nan)
        return without + scale * (wanted - without)

    return guided


def check_dynamic_guidance(kind: str) -> None:
    """Checks the name of a kind.

    Raises:
        UserError: For an unknown kind.
    """
    if kind not in DYNAMIC_GUIDANCE:
        raise UserError(f"dynamic_guidance is {kind!r}: choose one of {', '.join(DYNAMIC_GUIDANCE)}")

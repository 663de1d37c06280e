"""A long clip through a causal network, a few frames at a time, so that memory does not grow with its length."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.models.vae_layers import Cache

Step = Callable[[Array, Cache], tuple[Array, Cache]]
"""A causal network: frames and the cache of the frames before, to output frames and the new cache."""


def split_frames(num_frames: int, batch: int) -> tuple[int, int]:
    """Frames of the first batch, which takes the remainder, and the number of full batches after it.

    With batches of 8, 49 frames are 9, 8, 8, 8, 8, 8. Norms look at a whole batch, so other cuts give other numbers
    than diffusers does.
    """
    full = max(num_frames // batch, 1) - 1
    return num_frames - full * batch, full


def scan_frames(step: Step, x: Float[Array, "b t h w c"], batch: int) -> Float[Array, "b t_out h_out w_out d"]:
    """Runs `step` over batches of frames inside one traced computation."""
    first, full = split_frames(x.shape[1], batch)
    head, cache = step(x[:, :first], None)
    if full == 0:
        return head

    def body(cache: Cache, index: Array) -> tuple[Cache, Array]:
        output, cache = step(jax.lax.dynamic_slice_in_dim(x, first + index * batch, batch, axis=1), cache)
        return cache, output

    _, tail = jax.lax.scan(body, cache, jnp.arange(full))
    tail = jnp.moveaxis(tail, 0, 1)
    return jnp.concatenate([head, tail.reshape(tail.shape[0], -1, *tail.shape[3:])], axis=1)


def stream_frames(
    step: Step, x: Float[Array, "b t h w c"] | Float[np.ndarray, "b t h w c"], batch: int
) -> Iterator[Float[np.ndarray, "b t_out h_out w_out d"]]:
    """Runs `step` over batches of frames, one call each, and yields each output from host memory.

    Args:
        step: A compiled network.
        x: The clip, on the device or in host memory.
        batch: Frames of a batch.
    """
    first, full = split_frames(x.shape[1], batch)
    cache = None
    for start, stop in [(0, first)] + [(first + i * batch, first + (i + 1) * batch) for i in range(full)]:
        output, cache = step(x[:, start:stop], cache)
        yield np.asarray(output)

"""A long clip through a causal network, a few frames at a time, so that memory does not grow with its length."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Array, Float

from sr_jax.backbones.cogvideox.vae_layers import Cache

Step = Callable[[Array | np.ndarray, Cache], tuple[Array, Cache]]
"""A causal network: frames and the cache of the frames before, to output frames and the new cache."""


def split_frames(num_frames: int, batch: int) -> list[slice]:
    """Cuts a clip into batches of frames, of which the first takes the remainder.

    With batches of 8, 49 frames are 9, 8, 8, 8, 8, 8. Norms look at a whole batch, so other cuts give other numbers
    than diffusers does.
    """
    first = num_frames - batch * (max(num_frames // batch, 1) - 1)
    return [slice(0, first), *(slice(start, start + batch) for start in range(first, num_frames, batch))]


def run_frames(
    step: Step, x: Float[Array, "b t h w c"] | Float[np.ndarray, "b t h w c"], batch: int
) -> Iterator[Float[Array, "b t_out h_out w_out d"]]:
    """Runs `step` on one batch of frames after the other and yields each output.

    One call each, not a scan: two shapes are compiled whatever the length, and an output can leave the device before
    the next batch runs.

    Args:
        step: A compiled network.
        x: The clip, on the device or in host memory.
        batch: Frames of a batch.
    """
    cache = None
    for frames in split_frames(x.shape[1], batch):
        output, cache = step(x[:, frames], cache)
        yield output

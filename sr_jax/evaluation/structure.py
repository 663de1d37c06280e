"""Structure error: the depth that a judge reads from generated latents, against the true depth."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.models.codec import VideoCodec
from sr_jax.teachers.depth import invert_colour


def depth_reader(
    structure: Callable[[Float[Array, "b t h w c"]], Float[Array, "b t h w c"]], codec: VideoCodec
) -> Callable[[Float[Array, "b t h w c"]], Float[Array, "b f p q 3"]]:
    """A function from video latents to the coloured depth video that the structure module sees in them.

    Args:
        structure: A structure module with its parameters, clean latents to depth latents (the paper's f_S).
        codec: Decodes depth latents to colours in [-1, 1].

    Returns:
        The function; compile it with `jax.jit`.
    """
    return lambda latents: jnp.clip(codec.decode(structure(latents)), -1, 1)


def colours_to_depth(colours: Float[np.ndarray, "f h w 3"]) -> Float[np.ndarray, "f h w"]:
    """Normalised disparity in [0, 1] of one coloured depth clip in [-1, 1]."""
    pixels = np.round((colours + 1) * 127.5).astype(np.uint8)
    return np.asarray(invert_colour(pixels), np.float64)


def structure_error(
    predicted: Float[np.ndarray, "f h w"], true: Float[np.ndarray, "f h w"]
) -> Float[np.ndarray, " f"]:
    """Mean absolute difference of two normalised disparities, frame by frame.

    Args:
        predicted: Disparity in [0, 1] that the judge read, `[F, H, W]`.
        true: The true disparity, min-max normalised over the clip.

    Returns:
        Percent of the clip's disparity range, `[F]`. Lower is better.
    """
    return 100 * np.abs(predicted.astype(np.float64) - true.astype(np.float64)).mean(axis=(1, 2))

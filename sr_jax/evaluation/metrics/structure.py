"""Structure error: the depth that a judge reads from generated latents, against the true depth."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float

from sr_jax.backbones.codec import VideoCodec


def depth_reader(
    structure: Callable[[Float[Array, "b t h w c"]], Float[Array, "b t h w c"]], codec: VideoCodec
) -> Callable[[Float[Array, "b t h w c"]], Float[np.ndarray, "b f p q 3"]]:
    """A function from video latents to the coloured depth video that the structure module sees in them.

    Args:
        structure: A structure module with its parameters, clean latents to depth latents (the paper's f_S).
        codec: Decodes depth latents to colours in [-1, 1].

    Returns:
        The function; both its parts are compiled. `teachers.depth.invert_colour` turns its colours into disparity.
    """
    compiled = jax.jit(structure)
    return lambda latents: codec.decode_to_host(compiled(latents))


def structure_error(predicted: Float[np.ndarray, "f h w"], true: Float[np.ndarray, "f h w"]) -> Float[np.ndarray, " f"]:
    """Mean absolute difference of two normalised disparities, frame by frame.

    Args:
        predicted: Disparity in [0, 1] that the judge read, `[F, H, W]`.
        true: The true disparity, normalised over the clip as the judge learned it.

    Returns:
        Percent of the clip's disparity range, `[F]`. Lower is better.
    """
    return 100 * np.abs(predicted.astype(np.float64) - true.astype(np.float64)).mean(axis=(1, 2))

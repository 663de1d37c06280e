"""What is generated must be numbers: NaN becomes a black video, which looks like a result."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.errors import UserError

_REMEDY = "weights or inputs are damaged, or the run that trained them diverged; name another checkpoint"


def require_finite_latents(latents: Float[Array, "*shape"] | Float[np.ndarray, "*shape"], clip: str) -> None:
    """Checks the sampled latents of a clip.

    Args:
        latents: They are stored in float16, and must fit that, too.
        clip: Its name, for messages.

    Raises:
        UserError: When they hold NaN, infinity or what float16 cannot store.
    """
    numpy = jnp if isinstance(latents, jax.Array) else np
    # Written so that NaN fails, too.
    if not bool((numpy.abs(latents) <= np.finfo(np.float16).max).all()):
        raise UserError(f"the latents of {clip} hold values that are no finite numbers: {_REMEDY}")


def require_finite_video(video: Float[np.ndarray, "f h w 3"], clip: str) -> None:
    """Checks the decoded video of a clip.

    Raises:
        UserError: When it holds NaN or infinity though its latents do not.
    """
    if not np.isfinite(video).all():
        raise UserError(
            f"the video of {clip} holds values that are no finite numbers, its latents do not: the codec's weights are "
            "damaged, or its dtype is too narrow; name another codec or set config.codec.dtype=float32"
        )

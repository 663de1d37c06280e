"""Tokens on grids of latent frames, rows and columns: how those of a transformer come to the grid of a teacher's.

A clip's hidden states and a teacher's tokens cover the same picture and the same time, each with a grid of its own. The
rule where no other is named: the student's go to the teacher's grid, by linear interpolation in time, rows and columns
that counts every token where the grid becomes coarser (a triangle as wide as the step). The sources' bilinear
interpolation reads the two nearest tokens of each axis and passes over the others.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_LEAST_LENGTH = 1e-6


def unit(tokens: Float[Array, "*grid d"]) -> Float[Array, "*grid d"]:
    """Tokens of length 1, in float32; what is shorter than 1e-6 is as if it had that length, and 0 stays 0."""
    tokens = tokens.astype(jnp.float32)
    # The least length is set before the root, whose gradient is not finite at 0.
    squared = jnp.sum(jnp.square(tokens), axis=-1, keepdims=True)
    return tokens * jax.lax.rsqrt(jnp.maximum(squared, _LEAST_LENGTH**2))


def cosine(left: Float[Array, "*grid d"], right: Float[Array, "*grid d"]) -> Float[Array, "*grid"]:
    """The cosine over channels of each pair of tokens, in float32."""
    return jnp.sum(unit(left) * unit(right), axis=-1)


def on_latent_frames(
    tokens: Float[Array, "b tt y x d"], num_frames: int, patch_frames: int
) -> Float[Array, "b {num_frames} y x d"]:
    """A token for each latent frame of the clip itself.

    A token of several latent frames (CogVideoX 1.5) is that of each of them. Frames that were added in front, to fill
    the first patch (`backbones.base.pad_frames`), go; the first token is that of the clip's first frame, too.

    Args:
        tokens: Hidden states.
        num_frames: Latent frames of the clip.
        patch_frames: Latent frames of a token.
    """
    return jnp.repeat(tokens, patch_frames, axis=1)[:, -num_frames:]


def resized(
    tokens: Float[Array, "b t y x d"], grid: tuple[int, int, int]
) -> Float[Array, "b {grid[0]} {grid[1]} {grid[2]} d"]:
    """Tokens on another grid of frames, rows and columns, in float32; an axis of the same length stays as it is.

    Places are those of the tokens' centres (half pixels), and the outermost tokens go on beyond theirs.
    """
    shape = (len(tokens), *grid, tokens.shape[-1])
    return jax.image.resize(tokens.astype(jnp.float32), shape, "linear")

"""Cutting faces out of frames."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def crop_faces(
    frames: Float[Array, "n h w c"], boxes: Float[Array, "n 4"], *, size: int, margin: float
) -> Float[Array, "n {size} {size} c"]:
    """Cuts a square around each box and resamples it, one box a frame.

    The square has the box's centre and `margin` times its longer side. Resampling is bilinear, with the filter widened
    when it shrinks, so that large faces do not alias. Outside the frame the border is repeated.

    Args:
        frames: Any value range.
        boxes: Corners x0, y0, x1, y1 in pixels; pixel i covers i to i + 1.
        size: Side of a crop in pixels.
        margin: Side of the square over the longer side of the box.
    """
    _, height, width, _ = frames.shape
    low, high = boxes[:, :2], boxes[:, 2:]
    side = jnp.max(high - low, axis=1) * margin
    steps = (jnp.arange(size) + 0.5) / size - 0.5
    # [n, size] positions in the frame of the crop's pixel centres.
    x, y = ((low + high)[:, axis, None] / 2 + side[:, None] * steps for axis in (0, 1))
    reach = jnp.maximum(side / size, 1.0)
    columns = _triangle_weights(x, width, reach)
    rows = _triangle_weights(y, height, reach)
    return jnp.einsum("nyh,nhwc,nxw->nyxc", rows, frames, columns)


def _triangle_weights(
    positions: Float[Array, "n size"], length: int, reach: Float[Array, " n"]
) -> Float[Array, "n size {length}"]:
    centres = jnp.arange(length) + 0.5
    positions = jnp.clip(positions, 0.5, length - 0.5)
    weights = jnp.maximum(1 - jnp.abs(positions[..., None] - centres) / reach[:, None, None], 0)
    return weights / weights.sum(axis=-1, keepdims=True)

"""Losses of the small face detector, per frame and unreduced."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Penalty-reduced focal loss (Law & Deng 2018, equation 1), with the paper's exponents.
_ALPHA, _BETA = 2, 4


def detection_loss(
    outputs: Float[Array, "n y x 5"], boxes: Float[Array, "n 4"], visible: Bool[Array, " n"], *, stride: int
) -> Float[Array, " n"]:
    """Focal loss of the centre heatmap, plus the absolute error of offset and log size at the face's cell.

    Args:
        outputs: Raw outputs of the detector: centre logit, offset x, y, log width, log height, in cells.
        boxes: The face of each frame, x0, y0, x1, y1 in pixels; ignored where not visible.
        visible: Whether the frame shows a face; if not, all cells must say so.
        stride: Pixels along each side of a cell.
    """
    _, rows, columns, _ = outputs.shape
    low, high = boxes[:, :2] / stride, boxes[:, 2:] / stride
    centres, sizes = (low + high) / 2, jnp.maximum(high - low, 0.1)
    limits = jnp.array([columns, rows])
    visible = visible & jnp.all((centres >= 0) & (centres < limits), axis=1)
    cells = jnp.clip(jnp.floor(centres).astype(jnp.int32), 0, limits - 1)

    target = _heatmap(cells, sizes, rows, columns) * visible[:, None, None]
    logits = outputs[..., 0]
    heat = jax.nn.sigmoid(logits)
    found = -((1 - heat) ** _ALPHA) * jax.nn.log_sigmoid(logits)
    spurious = -((1 - target) ** _BETA) * heat**_ALPHA * jax.nn.log_sigmoid(-logits)
    focal = jnp.where(target == 1, found, spurious).sum(axis=(1, 2))

    at_face = outputs[jnp.arange(len(outputs)), cells[:, 1], cells[:, 0]]
    wanted = jnp.concatenate([centres - cells - 0.5, jnp.log(sizes)], axis=1)
    return focal + visible * jnp.abs(at_face[:, 1:] - wanted).sum(axis=1)


def _heatmap(
    cells: Float[Array, "n 2"] | jax.Array, sizes: Float[Array, "n 2"], rows: int, columns: int
) -> Float[Array, "n {rows} {columns}"]:
    """A bump of height 1 at each face's cell, a quarter of the face's size wide."""
    spread = jnp.maximum(sizes / 4, 0.4)
    x = jnp.exp(-0.5 * ((jnp.arange(columns) - cells[:, :1]) / spread[:, :1]) ** 2)
    y = jnp.exp(-0.5 * ((jnp.arange(rows) - cells[:, 1:]) / spread[:, 1:]) ** 2)
    return y[:, :, None] * x[:, None, :]

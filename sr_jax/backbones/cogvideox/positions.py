"""Position tables of CogVideoX: rotary (5B, 5B-I2V, 1.5) and sinusoidal (2B).

Both depend on static sizes only, so they are computed on the host in float64 and become constants of the compiled
program. Tokens are ordered frame by frame, then row by row.
"""

import numpy as np
from jaxtyping import Float

_THETA = 10_000.0


def rope_grid_1_0(tokens: tuple[int, int, int], base: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Token coordinates of CogVideoX 1.0: the grid is resized, keeping its aspect, into the grid of training.

    At the base grid the coordinates are 0, 1, 2, ...; any other grid covers the same interval more or less densely
    (diffusers: `get_resize_crop_region_for_grid` with `grid_type="linspace"`).

    Args:
        tokens: Tokens along T, H and W.
        base: Rows and columns of tokens that the model was trained at.

    Returns:
        Frame, row and column coordinates, three 1-D arrays.
    """
    (frames, rows, columns), (base_rows, base_columns) = tokens, base
    if rows / columns > base_rows / base_columns:
        height, width = base_rows, round(base_rows / rows * columns)
    else:
        height, width = round(base_columns / columns * rows), base_columns
    top, left = round((base_rows - height) / 2), round((base_columns - width) / 2)
    return (
        np.arange(frames, dtype=np.float64),
        np.linspace(top, (top + height) * (rows - 1) / rows, rows),
        np.linspace(left, (left + width) * (columns - 1) / columns, columns),
    )


def rope_grid_1_5(tokens: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    """Token coordinates of CogVideoX 1.5 along T, H and W: plain indices (diffusers: `grid_type="slice"`)."""
    return tuple(np.arange(n, dtype=np.float64) for n in tokens)


def rope_table(
    coordinates: tuple[np.ndarray, ...], head_dim: int
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
    """Cosines and sines of the 3-D rotary embedding (diffusers: `get_3d_rotary_pos_embed`).

    A quarter of the channels turns with the frame, three eighths each with the row and the column. Channels `2i` and
    `2i + 1` are one rotating pair and hold the same angle.

    Args:
        coordinates: Frame, row and column coordinates.
        head_dim: Channels of one attention head; a multiple of 16.

    Returns:
        Float32 tables `[tokens, head_dim]`.
    """
    tokens = tuple(len(axis) for axis in coordinates)
    parts = []
    for axis, dim in enumerate((head_dim // 4, head_dim // 8 * 3, head_dim // 8 * 3)):
        frequencies = _THETA ** -(np.arange(0, dim, 2) / dim)
        parts.append(_along(axis, np.repeat(np.outer(coordinates[axis], frequencies), 2, axis=1), tokens))
    angles = np.concatenate(parts, axis=-1).reshape(-1, head_dim)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def sincos_table(
    tokens: tuple[int, int, int], dim: int, spatial_scale: float, temporal_scale: float
) -> Float[np.ndarray, "n d"]:
    """Sinusoidal 3-D position table of CogVideoX-2B (diffusers: `get_3d_sincos_pos_embed`).

    Args:
        tokens: Tokens along T, H and W.
        dim: Model width; a quarter encodes the frame, three eighths each the column and then the row.
        spatial_scale: Row and column indices are divided by it.
        temporal_scale: Frame indices are divided by it.

    Returns:
        Float32 table `[tokens, dim]`.
    """
    parts = []
    for axis, scale, width in (
        (0, temporal_scale, dim // 4),
        (2, spatial_scale, dim // 8 * 3),
        (1, spatial_scale, dim // 8 * 3),
    ):
        frequencies = _THETA ** -(np.arange(width // 2) / (width / 2))
        angles = np.outer(np.arange(tokens[axis]) / scale, frequencies)
        parts.append(_along(axis, np.concatenate([np.sin(angles), np.cos(angles)], axis=1), tokens))
    return np.concatenate(parts, axis=-1).reshape(-1, dim).astype(np.float32)


def _along(axis: int, values: np.ndarray, tokens: tuple[int, int, int]) -> np.ndarray:
    """Repeats `[tokens[axis], dim]` over the other two axes: `[T, H, W, dim]`."""
    shape = [1, 1, 1, values.shape[1]]
    shape[axis] = tokens[axis]
    return np.broadcast_to(values.reshape(shape), (*tokens, values.shape[1]))

"""Spatial tiling of the autoencoder: overlapping tiles, each run on its own, blended where they overlap.

As diffusers' `AutoencoderKLCogVideoX` does it: memory depends on the tile, not on the video's size; the output differs
from that of the whole video, because norms and padding see one tile only.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jaxtyping import Float

from sr_jax.errors import UserError

AnyArray = TypeVar("AnyArray", jax.Array, np.ndarray)


@dataclasses.dataclass(frozen=True)
class TileAxis:
    """How one side of the input is cut and one side of the output put together.

    Attributes:
        size: Of a tile, in input pixels.
        stride: From one tile to the next, in input pixels.
        blend: Over how many output pixels a tile fades in from the one before.
        keep: Output pixels kept of a tile; what follows is overlap.
    """

    size: int
    stride: int
    blend: int
    keep: int


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Size and overlap of tiles.

    Attributes:
        sample_height: Rows of a tile, in video pixels.
        sample_width: Columns of a tile, in video pixels.
        overlap_height: Part of a tile's rows that the next one repeats; diffusers' value by default.
        overlap_width: Part of a tile's columns that the next one repeats; diffusers' value by default.
    """

    sample_height: int
    sample_width: int
    overlap_height: float = 1 / 6
    overlap_width: float = 1 / 5

    def encoding(self, ratio: int) -> tuple[TileAxis, TileAxis]:
        """Cuts rows and columns of a video for the encoder, which divides both by `ratio`.

        Raises:
            UserError: If the tiles' latents would not meet without a gap.
        """
        rows, columns = ((size, size // ratio, overlap) for size, overlap in self._sides())
        return _cut(*rows), _cut(*columns)

    def decoding(self, ratio: int) -> tuple[TileAxis, TileAxis]:
        """Cuts rows and columns of latents for the decoder, which multiplies both by `ratio`.

        Raises:
            UserError: If the tiles' videos would not meet without a gap.
        """
        rows, columns = ((size // ratio, size, overlap) for size, overlap in self._sides())
        return _cut(*rows), _cut(*columns)

    def _sides(self) -> tuple[tuple[int, float], tuple[int, float]]:
        return (self.sample_height, self.overlap_height), (self.sample_width, self.overlap_width)


def _cut(size: int, output_size: int, overlap: float) -> TileAxis:
    stride, blend = int(size * (1 - overlap)), int(output_size * overlap)
    axis = TileAxis(size, stride, blend, output_size - blend)
    # Rounded apart, the two do not always agree, and diffusers then returns a video of another size.
    if stride < 1 or axis.stride * output_size != axis.keep * size:
        raise UserError(
            f"tiles of {size} that overlap by {overlap:g} give {output_size}, of which {axis.keep} are kept for a step "
            f"of {stride}: choose sizes and overlaps that divide evenly, such as 240x360 with 1/6 and 1/5"
        )
    return axis


def run_tiled(
    run: Callable[[AnyArray], AnyArray],
    x: Float[AnyArray, "b t h w c"],
    rows: TileAxis,
    columns: TileAxis,
) -> Float[AnyArray, "b t_out h_out w_out d"]:
    """Runs a network over tiles and blends its outputs.

    Args:
        run: From a tile of the input, all frames, to its output.
        x: Input; the output is in the same kind of memory as the outputs of `run`.
        rows: How rows are cut.
        columns: How columns are cut.
    """
    strips, above = [], []
    for top in range(0, x.shape[2], rows.stride):
        row: list[AnyArray] = []
        for index, left in enumerate(range(0, x.shape[3], columns.stride)):
            tile = run(x[:, :, top : top + rows.size, left : left + columns.size])
            if above:
                tile = blend(above[index], tile, rows.blend, axis=2)
            if row:
                tile = blend(row[-1], tile, columns.blend, axis=3)
            row.append(tile)
        strips.append(_concat([tile[:, :, : rows.keep, : columns.keep] for tile in row], axis=3))
        above = row
    return _concat(strips, axis=2)


def blend(
    before: Float[AnyArray, "b t h_before w_before c"], tile: Float[AnyArray, "b t h w c"], extent: int, axis: int
) -> Float[AnyArray, "b t h w c"]:
    """Fades from the end of the tile before to the start of this one, linearly.

    Args:
        before: The tile above or to the left, itself blended.
        tile: This tile.
        extent: Pixels to fade over; fewer where a tile is smaller.
        axis: 2 for rows, 3 for columns.
    """
    extent = min(before.shape[axis], tile.shape[axis], extent)
    if extent == 0:
        return tile
    end = _slice(before, before.shape[axis] - extent, before.shape[axis], axis)
    start, rest = _slice(tile, 0, extent, axis), _slice(tile, extent, tile.shape[axis], axis)
    shape = [1] * tile.ndim
    shape[axis] = extent
    weight = (np.arange(extent, dtype=np.float32) / extent).reshape(shape)
    return _concat([end * (1 - weight) + start * weight, rest], axis)


def _slice(x: AnyArray, start: int, stop: int, axis: int) -> AnyArray:
    return x[(slice(None),) * axis + (slice(start, stop),)]


def _concat(arrays: list[AnyArray], axis: int) -> AnyArray:
    # NumPy's for outputs in host memory, JAX's for those on the device or being traced.
    return arrays[0].__array_namespace__().concat(arrays, axis=axis)

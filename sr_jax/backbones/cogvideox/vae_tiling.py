"""Spatial tiling of the autoencoder: overlapping tiles, each run on its own, blended where they overlap.

As diffusers' `AutoencoderKLCogVideoX` does it: memory depends on the tile, not on the video's size; the output differs
from that of the whole video, because norms and padding see one tile only.
"""

import dataclasses
import itertools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

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
        keep: Output pixels kept of a tile; over what follows the next one fades in.
    """

    size: int
    stride: int
    keep: int


WHOLE = TileAxis(sys.maxsize, sys.maxsize, sys.maxsize)
"""One tile, whatever the size."""


@dataclasses.dataclass(frozen=True)
class Block(Generic[AnyArray]):
    """A part of a tiled output.

    Attributes:
        frame: Where it starts in the whole.
        row: Where it starts in the whole.
        column: Where it starts in the whole.
        values: `[B, T, H, W, C]`, of the block.
    """

    frame: int
    row: int
    column: int
    values: AnyArray


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
    axis = TileAxis(size, int(size * (1 - overlap)), output_size - int(output_size * overlap))
    # Rounded apart, the two do not always agree, and diffusers then returns a video of another size.
    if axis.stride < 1 or axis.stride * output_size != axis.keep * size:
        raise UserError(
            f"tiles of {size} that overlap by {overlap:g} give {output_size}, of which {axis.keep} are kept for a step "
            f"of {axis.stride}: choose sizes and overlaps that divide evenly, such as 240x360 with 1/6 and 1/5"
        )
    return axis


def run_tiled(
    run: Callable[[AnyArray], Iterable[AnyArray]],
    x: Float[AnyArray, "b t h w c"],
    rows: TileAxis = WHOLE,
    columns: TileAxis = WHOLE,
) -> Iterator[Block]:
    """Runs a network over tiles, blends its outputs, and yields the output in blocks that do not overlap.

    Of what was yielded only the edges are kept that the next tiles fade in from.

    Args:
        run: From a tile of the input, all frames, to its output, a few frames at a time.
        x: Input; the blocks are in the same kind of memory as the outputs of `run`.
        rows: How rows are cut.
        columns: How columns are cut.
    """
    # By column of tiles and batch of frames, and by batch of frames.
    below: dict[tuple[int, int], AnyArray] = {}
    right: dict[int, AnyArray] = {}
    for i, top in enumerate(range(0, x.shape[2], rows.stride)):
        for j, left in enumerate(range(0, x.shape[3], columns.stride)):
            frame = 0
            for batch, tile in enumerate(run(x[:, :, top : top + rows.size, left : left + columns.size])):
                if i > 0:
                    tile = blend(below[j, batch], tile, axis=2)
                if j > 0:
                    tile = blend(right[batch], tile, axis=3)
                below[j, batch] = _copy(tile[:, :, rows.keep :])
                right[batch] = _copy(tile[:, :, :, columns.keep :])
                yield Block(frame, i * rows.keep, j * columns.keep, tile[:, :, : rows.keep, : columns.keep])
                frame += tile.shape[1]


def blend(
    edge: Float[AnyArray, "b t h_edge w_edge c"], tile: Float[AnyArray, "b t h w c"], axis: int
) -> Float[AnyArray, "b t h w c"]:
    """Fades from the end of the tile before to the start of this one, linearly.

    Args:
        edge: What the tile above or to the left, itself blended, has of this tile's pixels.
        tile: This tile.
        axis: 2 for rows, 3 for columns.
    """
    extent = edge.shape[axis]
    start, rest = (tile[(slice(None),) * axis + (part,)] for part in (slice(extent), slice(extent, None)))
    shape = [1] * tile.ndim
    shape[axis] = extent
    weight = (np.arange(extent, dtype=np.float32) / extent).reshape(shape)
    return tile.__array_namespace__().concat([edge * (1 - weight) + start * weight, rest], axis=axis)


def join(blocks: Iterable[Block]) -> Float[AnyArray, "b t h w c"]:
    """Puts the blocks of `run_tiled` together, by concatenation."""

    def along(blocks: list[Block], axes: Sequence[tuple[int, str]]) -> AnyArray:
        if not axes:
            return blocks[0].values
        (axis, start), *inner = axes
        parts = [along(list(part), inner) for _, part in itertools.groupby(blocks, operator.attrgetter(start))]
        return parts[0].__array_namespace__().concat(parts, axis=axis)

    return along(list(blocks), [(2, "row"), (3, "column"), (1, "frame")])


def _copy(part: AnyArray) -> AnyArray:
    # A view would keep the whole tile in memory.
    return part.__array_namespace__().asarray(part, copy=True)

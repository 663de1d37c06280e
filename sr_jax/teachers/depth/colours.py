"""The colouring that makes a depth video encodable by a video codec."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.errors import UserError
from sr_jax.teachers.depth.files import depth_frames

_INDICES = np.arange(256, dtype=np.uint8)[:, None]
_OPENCV_MAPS = {
    name: getattr(cv2, f"COLORMAP_{name.upper()}")
    for name in ("cividis", "inferno", "magma", "plasma", "turbo", "viridis")
}
COLOUR_TABLES = {
    name: cv2.applyColorMap(_INDICES, number)[:, 0, ::-1].copy() for name, number in _OPENCV_MAPS.items()
} | {"grey": np.repeat(_INDICES, 3, axis=1)}
"""Colour maps by name: 256 RGB colours, from far (index 0) to near (255)."""

# What Video Depth Anything colours with: from black to pale yellow.
INFERNO = COLOUR_TABLES["inferno"]


@dataclasses.dataclass(frozen=True)
class DepthColours:
    """How a clip's disparity becomes a colour video; the defaults are those of Video Depth Anything, but for outliers.

    Attributes:
        colour_map: A name of `COLOUR_TABLES`.
        low_percentile: Which percentile of the clip's values becomes the first colour, as all values below it; 0 for
            the smallest value that is no outlier (`range_without_outliers`).
        high_percentile: Which one becomes the last colour, as all values above it; 100 for the largest likewise.
    """

    colour_map: str = "inferno"
    low_percentile: float = 0.0
    high_percentile: float = 100.0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            UserError: For an unknown map or impossible percentiles.
        """
        if self.colour_map not in COLOUR_TABLES:
            raise UserError(
                f"depth.colour_map is {self.colour_map!r}: choose one of {', '.join(sorted(COLOUR_TABLES))}"
            )
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise UserError(
                f"depth percentiles are {self.low_percentile} and {self.high_percentile}: they must rise from 0 to 100"
            )

    def normalise(self, disparity: Float[np.ndarray, "f h w"]) -> Float[np.ndarray, "f h w"]:
        """Maps a clip to [0, 1] by the percentiles of the whole clip; a constant clip becomes 0."""
        if (self.low_percentile, self.high_percentile) == (0, 100):
            low, high = range_without_outliers(disparity)
        else:
            low, high = np.percentile(disparity, [self.low_percentile, self.high_percentile]).astype(disparity.dtype)
        return normalise_disparity(np.clip(disparity, low, high))

    def colour(self, normalised: Float[np.ndarray, "f h w"]) -> UInt8[np.ndarray, "f h w 3"]:
        """Colours values in [0, 1]."""
        return COLOUR_TABLES[self.colour_map][np.round(normalised * 255).astype(np.uint8)]

    def describe(self) -> dict[str, str]:
        """The values as a dataset's provenance keeps them."""
        return {name: str(value) for name, value in dataclasses.asdict(self).items()}


PUBLISHED_COLOURS = DepthColours()
"""Those of Video Depth Anything."""


def read_disparity(path: Path) -> Float[np.ndarray, "f h w"]:
    """Reads a whole depth file as float32 disparity (1 / metres, or whatever unit the file's `disparity` has).

    Raises:
        UserError: If the file is missing, unreadable, has neither key, or holds impossible values.
    """
    return np.stack(list(depth_frames(path)))


def range_without_outliers(disparity: Float[np.ndarray, "f h w"]) -> tuple[np.floating, np.floating]:
    """The smallest and the largest value of a clip, but for a few pixels far away from all others.

    All but the lowest and the highest thousandth of the pixels are looked at. An end of the range that lies further
    from them than they span is an outlier, and they are the range on that side; any other end stays what it is.
    """
    count = disparity.size // 1000
    ordered = np.partition(disparity, [0, count, disparity.size - 1 - count, disparity.size - 1], axis=None)
    low, inner_low, inner_high, high = ordered[[0, count, -1 - count, -1]]
    span = np.float64(inner_high) - np.float64(inner_low)
    # Of a clip that is constant but for these pixels, they are all there is to see.
    if span > 0:
        low = inner_low if np.float64(inner_low) - low > span else low
        high = inner_high if high - np.float64(inner_high) > span else high
    return low, high


def normalise_disparity(disparity: Float[np.ndarray, "f h w"]) -> Float[np.ndarray, "f h w"]:
    """Maps a clip to [0, 1] by the smallest and largest value of the whole clip; a constant clip becomes 0."""
    low, high = disparity.min(), disparity.max()
    if high == low:
        return np.zeros_like(disparity)
    return (disparity - low) / (high - low)


def colour_depth(disparity: Float[np.ndarray, "f h w"]) -> UInt8[np.ndarray, "f h w 3"]:
    """Colours a clip's disparity as Video Depth Anything does: minimum and maximum of the clip, then `inferno`."""
    return PUBLISHED_COLOURS.colour(normalise_disparity(disparity))


def invert_colour(
    frames: UInt8[np.ndarray, "f h w 3"] | Float[np.ndarray, "f h w 3"], colour_map: str = "inferno"
) -> Float[np.ndarray, "f h w"]:
    """Reads normalised disparity back from colours: the place of the nearest colour in the table.

    Args:
        frames: uint8 RGB, or float RGB in [-1, 1] as a codec decodes it.
        colour_map: What they were coloured with, a name of `COLOUR_TABLES`.

    Returns:
        float32 in [0, 1], steps of 1 / 255, near is large.
    """
    pixels = frames.astype(np.float32) if frames.dtype == np.uint8 else (frames.astype(np.float32) + 1) * 127.5
    table = COLOUR_TABLES[colour_map].astype(np.float32)
    # |p - c|^2 without the |p|^2 that all colours share.
    distances = (table**2).sum(axis=1) - 2 * pixels.reshape(-1, 3) @ table.T
    return (distances.argmin(axis=1) / np.float32(255)).astype(np.float32).reshape(frames.shape[:3])

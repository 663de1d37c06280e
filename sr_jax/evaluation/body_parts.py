"""What maps of body parts say of a body: pieces, areas and places of its parts, frame by frame.

A map holds the number of a part for every pixel, from 1, and 0 where there is no person. It is exact for rendered
clips, and what a judge of parts reads in any other.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

LEAST_SHARE = 0.0015
"""Of a frame's pixels that a piece covers: what is smaller counts as nothing, in a clip and in the real one alike."""
DOUBLED = 1.5
"""A part in several pieces that together have so many times its usual area is there twice; with less, it is in two."""


@dataclasses.dataclass(frozen=True)
class PartTracks:
    """Pieces, areas and places of K parts over a clip of F frames.

    Attributes:
        pieces: Number of connected pieces, `[F, K]`; touching by a corner connects.
        areas: Pixels of all pieces together, `[F, K]`.
        places: Row and column of their centre, pixels, `[F, K, 2]`; NaN where there is none.
    """

    pieces: Int[np.ndarray, "f k"]
    areas: Int[np.ndarray, "f k"]
    places: Float[np.ndarray, "f k 2"]


def follow_parts(maps: UInt8[np.ndarray, "f h w"], count: int) -> PartTracks:
    """Follows the parts 1 to `count` over a clip."""
    least = max(1.0, LEAST_SHARE * maps.shape[1] * maps.shape[2])
    found = [[_pieces(frame == number, least) for number in range(1, count + 1)] for frame in maps]
    pieces, areas, places = (np.array([[part[i] for part in frame] for frame in found]) for i in range(3))
    shape = (len(maps), count)
    return PartTracks(pieces.reshape(shape), areas.reshape(shape), places.reshape(*shape, 2).astype(np.float64))


def _pieces(mask: Bool[np.ndarray, "h w"], least: float) -> tuple[int, int, tuple[float, float]]:
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas, centres = stats[1:, cv2.CC_STAT_AREA], centres[1:]
    kept = areas >= least
    if not kept.any():
        return 0, 0, (np.nan, np.nan)
    x, y = np.average(centres[kept], axis=0, weights=areas[kept])
    return int(kept.sum()), int(areas[kept].sum()), (float(y), float(x))


def part_count(*maps: UInt8[np.ndarray, "f h w"]) -> int:
    """The largest number of a part in any of the maps."""
    return int(max(map(np.max, maps)))


def usual_areas(real: PartTracks) -> Float[np.ndarray, " k"]:
    """Area of each part in a usual frame of the real clip: the median over those that show it; NaN where none does."""
    shown = np.where(real.areas > 0, real.areas, np.nan)
    with np.errstate(all="ignore"):
        return np.array([np.nanmedian(column) if np.isfinite(column).any() else np.nan for column in shown.T])


def missing(tracks: PartTracks, real: PartTracks) -> Bool[np.ndarray, " f"]:
    """In which frames a part is missing that the real first frame, which the generator was given, shows."""
    return (tracks.pieces[:, real.pieces[0] > 0] == 0).any(axis=1)


def split(tracks: PartTracks, real: PartTracks) -> Bool[np.ndarray, " f"]:
    """In which frames a part is in several pieces that together are no more than it usually is (see `DOUBLED`)."""
    return ((tracks.pieces > 1) & (tracks.areas < DOUBLED * usual_areas(real))).any(axis=1)


def doubled(tracks: PartTracks, real: PartTracks) -> Bool[np.ndarray, " f"]:
    """In which frames a part is there in several pieces that together are more than it usually is (see `DOUBLED`)."""
    return ((tracks.pieces > 1) & (tracks.areas >= DOUBLED * usual_areas(real))).any(axis=1)


def area_jumps(tracks: PartTracks, real: PartTracks) -> Float[np.ndarray, " f"]:
    """How far the area of a part is from halfway between those of the frames before and after it.

    Returns:
        Percent of the part's usual area, mean over the parts that the real clip shows, `[F]`; NaN in the first and in
        the last frame, and where there is no such part.
    """
    departures = np.linalg.norm(_departures(tracks.areas[..., None].astype(np.float64)), axis=-1)
    return _mean_of_parts(100 * departures / usual_areas(real))


def place_jumps(tracks: PartTracks, height: int) -> Float[np.ndarray, " f"]:
    """How far the place of a part is from halfway between those of the frames before and after it.

    Args:
        tracks: Of a clip.
        height: Of its frames, pixels.

    Returns:
        Percent of the frame's height, mean over the parts that are there in all three frames, `[F]`; NaN in the first
        and in the last frame, and where there is no such part.
    """
    return _mean_of_parts(100 / height * np.linalg.norm(_departures(tracks.places), axis=-1))


def _departures(values: Float[np.ndarray, "f k c"]) -> Float[np.ndarray, "f k c"]:
    """Of each frame from the mean of its neighbours; an even motion, however fast, departs from nothing."""
    departures = np.full(values.shape, np.nan)
    departures[1:-1] = values[1:-1] - (values[:-2] + values[2:]) / 2
    return departures


def _mean_of_parts(values: Float[np.ndarray, "f k"]) -> Float[np.ndarray, " f"]:
    defined = np.isfinite(values)
    counts = defined.sum(axis=1)
    return np.where(counts > 0, np.where(defined, values, 0).sum(axis=1) / np.maximum(counts, 1), np.nan)

"""CPBD: the share of edges at which no blur is seen."""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.feature import canny

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score

_BLOCK = 64
# A block is looked at when more than this share of its pixels are edges.
_LEAST_EDGES = 0.002
# Just noticeable widths of edges in pixels, at low contrast (up to this many grey values) and above.
_LOW_CONTRAST, _LOW_WIDTH, _HIGH_WIDTH = 50, 5.0, 3.0
_BETA = 3.6
# Blur of a just noticeable width is detected with probability 1 - exp(-1).
_UNDETECTED = 0.63
_MOST_STEPS = 100
# Edges are stronger than twice the root mean square of the gradient.
_STRENGTH = 4.0


class Metric(ClipMetric):
    """CPBD, mean over frames."""

    score = Score(
        "cpbd",
        "Sharpness (CPBD)",
        "",
        +1,
        4,
        "Cumulative probability of blur detection: the share of vertical edges that are no wider than what people see "
        "as blurred, mean over frames. It needs no real clip; noise is sharp, too.",
        by_frame="CPBD",
    )
    alone = True

    def measure(self, clip: Clip) -> Measurement:
        """The mean over frames; a frame without edges is not sharp at all."""
        found = np.array([cpbd(frame) for frame in clip.video])
        return Measurement(float(found.mean()), found)


def cpbd(frame: UInt8[np.ndarray, "h w 3"]) -> float:
    """CPBD of a frame (Narvekar and Karam 2011, equations 4 to 6).

    Blocks with edges are found with Canny's method, and the widths of vertical edges measured with Marziliano's at the
    places of Sobel's. What is left over beside whole blocks of 64 x 64 pixels is not looked at.

    Args:
        frame: RGB, at least a block large.

    Returns:
        In [0, 1]; 0 where there is no edge.
    """
    grey = np.round(rgb2gray(frame) * 255)
    blocks = _edge_blocks(grey)
    widths = edge_widths(grey)
    limits = np.kron(_noticeable_widths(grey), np.ones((_BLOCK, _BLOCK)))
    rows, columns = limits.shape
    looked_at = (widths[:rows, :columns] > 0) & np.kron(blocks, np.ones((_BLOCK, _BLOCK), bool))
    detected = 1 - np.exp(-((widths[:rows, :columns][looked_at] / limits[looked_at]) ** _BETA))
    # Probabilities are counted in percent.
    return float((np.round(100 * detected) <= round(100 * _UNDETECTED)).mean()) if detected.size else 0.0


def edge_widths(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Widths of vertical edges in pixels, 0 where there is none (Marziliano et al. 2002).

    An edge reaches as far to both sides of its place as the grey values go on rising, or falling.
    """
    down, across = np.gradient(grey)
    angle = np.degrees(np.arctan2(down, across))
    edges = _vertical_edges(grey)
    edges[[0, -1]] = edges[:, [0, -1]] = False
    widths = np.zeros(grey.shape)
    for towards, signed in ((np.abs(angle) <= 22.5, grey), (np.abs(angle) >= 157.5, -grey)):
        rises = np.diff(signed, axis=1) > 0
        # Of each column, steps to the left that go down, and to the right that go up.
        left = np.pad(_run_lengths(rises), ((0, 0), (1, 0)))
        right = np.pad(_run_lengths(rises[:, ::-1])[:, ::-1], ((0, 0), (0, 1)))
        width = np.minimum(np.roll(left, 1, axis=1), _MOST_STEPS) + np.minimum(np.roll(right, -1, axis=1), _MOST_STEPS)
        widths = np.where(edges & towards & (across != 0), width + 2, widths)
    return widths


def _vertical_edges(grey: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    strength = np.square(ndimage.sobel(grey, axis=1, mode="nearest") / 8)
    before, behind = (
        np.pad(strength, ((0, 0), pad))[:, cut] for pad, cut in (((1, 0), np.s_[:-1]), ((0, 1), np.s_[1:]))
    )
    return (strength > _STRENGTH * strength.mean()) & (strength >= before) & (strength > behind)


def _run_lengths(true: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """How many values in a row, this one and those before it, are true."""
    places = np.arange(1, true.shape[1] + 1)
    return places - np.maximum.accumulate(np.where(true, 0, places), axis=1).astype(float)


def _blocks(values: np.ndarray) -> np.ndarray:
    rows, columns = (length // _BLOCK for length in values.shape)
    cut = values[: rows * _BLOCK, : columns * _BLOCK]
    return cut.reshape(rows, _BLOCK, columns, _BLOCK)


def _edge_blocks(grey: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "y x"]:
    return _blocks(canny(grey / 255)).mean(axis=(1, 3)) > _LEAST_EDGES


def _noticeable_widths(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "y x"]:
    blocks = _blocks(grey)
    contrast = blocks.max(axis=(1, 3)) - blocks.min(axis=(1, 3))
    return np.where(contrast <= _LOW_CONTRAST, _LOW_WIDTH, _HIGH_WIDTH)

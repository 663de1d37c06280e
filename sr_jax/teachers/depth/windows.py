"""Depth of videos of any length, from a network that sees 32 frames at once.

Windows overlap. Each one but the first begins with frames that the window before it has seen (its keyframes: the first,
one from its middle, and its last eight), so that the network continues the same scene. Its depth is then scaled and
shifted to agree with the depth that two of them have already, and the eight frames that both windows cover are
cross-faded.

Source: Chen et al. 2025, Video Depth Anything (arXiv 2501.12375), section 3.3, with the published code's numbers.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, UInt8

WINDOW = 32
"""Frames of a window."""

KEYFRAMES = (0, 12, *range(24, 32))
"""Frames of a window that are shown again at the start of the next one."""

_OVERLAP = len(KEYFRAMES)
STEP = WINDOW - _OVERLAP
"""New frames in each window after the first."""

# The first of the keyframes align a window; the others are faded into each other.
_NUM_REFERENCES = 2
_NUM_FADED = _OVERLAP - _NUM_REFERENCES

Prepare = Callable[[UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "y x 3"]]
"""From a frame to the network's input."""

Estimate = Callable[[Float[np.ndarray, "32 y x 3"]], Float[np.ndarray, "32 h w"]]
"""From the inputs of a window to depth of the frames' size."""


def video_depth(
    frames: UInt8[np.ndarray, "f h w 3"], prepare: Prepare, estimate: Estimate
) -> Float[np.ndarray, "f h w"]:
    """Estimates the depth of all frames of a video, in one scale and shift.

    Args:
        frames: RGB; a last window that they do not fill is filled up with the last one.
        prepare: Called once for each frame of each window that is new in it.
        estimate: Called once for each window.

    Returns:
        float32 depth, not negative.
    """
    depth = np.empty(frames.shape[:3], np.float32)
    references: Float[np.ndarray, "2 h w"] | None = None
    for start, inputs in windows(frames, prepare):
        estimated = estimate(inputs).astype(np.float32)
        if references is None:
            place(depth, start, estimated)
            references = estimated[list(KEYFRAMES[:_NUM_REFERENCES])]
            faded = estimated[-_NUM_FADED:]
            continue
        scale, shift = scale_and_shift(estimated[:_NUM_REFERENCES], references)
        estimated = np.maximum(estimated * scale + shift, 0)
        weights = np.linspace(0, 1, _NUM_FADED, dtype=np.float32)[:, None, None]
        joined = faded * (1 - weights) + estimated[_NUM_REFERENCES:_OVERLAP] * weights
        place(depth, start + _NUM_REFERENCES, np.concatenate([joined, estimated[_OVERLAP:]]))
        references = np.stack([references[0], estimated[KEYFRAMES[1]]])
        faded = estimated[-_NUM_FADED:]
    return depth


def windows(
    frames: UInt8[np.ndarray, "f h w 3"], prepare: Prepare
) -> Iterator[tuple[int, Float[np.ndarray, "32 y x 3"]]]:
    """Yields where in the video each window starts, and the network's inputs for it.

    Every window covers frames `start` to `start + 32`; at the places of its first ten, windows after the first have the
    inputs of the keyframes of the window before.
    """
    inputs: Float[np.ndarray, "32 y x 3"] | None = None
    for start in range(0, len(frames), STEP):
        new = range(start if inputs is None else start + _OVERLAP, start + WINDOW)
        prepared: dict[int, Float[np.ndarray, "y x 3"]] = {}
        for index in (min(each, len(frames) - 1) for each in new):
            if index not in prepared:
                prepared[index] = prepare(frames[index])
        fresh = np.stack([prepared[min(each, len(frames) - 1)] for each in new])
        inputs = fresh if inputs is None else np.concatenate([inputs[list(KEYFRAMES)], fresh])
        yield start, inputs


def place(depth: Float[np.ndarray, "f h w"], start: int, part: Float[np.ndarray, "g h w"]) -> None:
    """Writes frames from `start` on, as many as fit."""
    count = min(len(part), len(depth) - start)
    if count > 0:
        depth[start : start + count] = part[:count]


def scale_and_shift(values: Float[np.ndarray, "n h w"], target: Float[np.ndarray, "n h w"]) -> tuple[float, float]:
    """The scale and shift that bring values closest to others in the least-squares sense.

    In float64: in float32 the sums over two large frames lose the difference that their determinant is. Constant values
    keep their scale and shift, as in the original.
    """
    values, target = (array.astype(np.float64).ravel() for array in (values, target))
    centred = values - values.mean()
    variance = float(centred @ centred)
    if variance == 0:
        return 1.0, 0.0
    scale = float(centred @ target) / variance
    return scale, float(target.mean() - scale * values.mean())

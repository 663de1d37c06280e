"""Clips inside a page: several in one video, so that they stay in step whatever the browser does."""

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from sr_jax.media.video import write_video

_PANEL_HEIGHT = 256
_GAP = 6
# The colour of the page's screens (`--screen` of the style sheet).
_BACKGROUND = (22, 21, 15)


def chosen_clips(count: int, shown: int) -> list[int]:
    """Places of the clips that are shown: evenly spaced in the sorted list, so that nobody's eye chose them."""
    return np.unique(np.linspace(0, count - 1, min(shown, count)).round().astype(int)).tolist()


def grid(rows: Sequence[Sequence[UInt8[np.ndarray, "f h w 3"]]]) -> UInt8[np.ndarray, "f y x 3"]:
    """Clips of one size in rows and columns with gaps, small ones enlarged smoothly by a whole factor."""
    scale = max(1, round(_PANEL_HEIGHT / rows[0][0].shape[1]))
    return np.concatenate(
        [_framed(np.concatenate([_framed(_enlarged(clip, scale), 2) for clip in row], axis=2), 1) for row in rows],
        axis=1,
    )


def data_uri(frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> str:
    """A clip as an H.264 video inside a `data:` address."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, fps)
        return f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _enlarged(frames: np.ndarray, scale: int) -> np.ndarray:
    height, width = frames.shape[1:3]
    size = (width * scale, height * scale)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in frames])


def _framed(frames: np.ndarray, axis: int) -> np.ndarray:
    """The clip with half a gap before and after it along an axis; sides stay even, as yuv420p asks."""
    shape = list(frames.shape)
    shape[axis] = _GAP // 2 + (frames.shape[axis] % 2 if axis else 0)
    edge = np.broadcast_to(np.array(_BACKGROUND, np.uint8), shape)
    return np.concatenate([edge, frames, edge], axis=axis)

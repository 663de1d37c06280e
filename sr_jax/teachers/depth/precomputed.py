"""Depth that was computed elsewhere and lies beside each video."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.errors import UserError
from sr_jax.media.decoding import VideoInfo
from sr_jax.sections import Section
from sr_jax.teachers.base import DepthTeacher
from sr_jax.teachers.depth.files import KINDS, depth_frames, depth_path, find_depth


def load(section: Section) -> DepthTeacher:
    """Loads `{"name": "precomputed", "kind": "disparity"}`; `kind` may be left out where all files say it themselves.

    Raises:
        UserError: For any other kind.
    """
    return PrecomputedDepth(section.get("kind", ""))


class PrecomputedDepth(DepthTeacher):
    """Reads the depth that lies beside a video; see `files`.

    Attributes:
        kind: What files hold that do not say it themselves, "disparity" or "depth"; "" for not stated.
    """

    name = "precomputed"
    weight_hash = "none"

    def __init__(self, kind: str = ""):
        """Reads nothing yet.

        Args:
            kind: See the attribute.

        Raises:
            UserError: For any other kind.
        """
        if kind not in ("", *KINDS):
            raise UserError(f"depth.kind is {kind!r}: it must be disparity or depth")
        # Where it is not stated nothing depends on it; datasets from before it had to be say disparity.
        self.kind, self.settings = kind, {"kind": kind or "disparity"}

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"], fps: float, path: Path) -> Float[np.ndarray, "f h w"]:
        """Returns the disparity of all frames of the video at `path`, as float32.

        Args:
            frames: All RGB frames of the video.
            fps: Frames a second; not used.
            path: The video file.

        Raises:
            UserError: If the depth file is missing, unreadable, of another length or size, or holds impossible values.
        """
        del fps
        values = np.stack(list(self.beside(path)))
        self._compare(path, len(values), values.shape[1:], len(frames), frames.shape[1:3])
        return values

    def beside(self, path: Path) -> Iterator[Float[np.ndarray, "h w"]]:
        """The disparity of the video at `path` one frame at a time, at least one.

        Raises:
            UserError: If the depth is missing or unreadable, or holds impossible values.
        """
        return depth_frames(find_depth(path) or depth_path(path), self.kind)

    def check(self, path: Path, info: VideoInfo) -> None:
        """Reads all depth of a video without keeping it.

        Raises:
            UserError: As `__call__`.
        """
        count, size = 0, (0, 0)
        for frame in self.beside(path):
            count, size = count + 1, frame.shape
        self._compare(path, count, size, info.num_frames, (info.height, info.width))

    def _compare(self, path: Path, count: int, size: tuple[int, ...], frames: int, expected: tuple[int, ...]) -> None:
        file = find_depth(path)
        if count != frames:
            raise UserError(f"{file} has depth for {count} frames, but {path.name} has {frames} frames")
        if size != expected:
            raise UserError(
                f"{file} has depth of {size[0]}x{size[1]} pixels, but {path.name} has {expected[0]}x{expected[1]}"
            )

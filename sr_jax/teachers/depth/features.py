"""Depth as a field of a record: coloured, and encoded by the codec as the clip itself is."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.backbones.codec import VideoCodec
from sr_jax.errors import UserError
from sr_jax.media.decoding import VideoInfo
from sr_jax.media.video import to_unit_range
from sr_jax.teachers.base import ClipBatch, DepthTeacher, FeatureTeacher, identify
from sr_jax.teachers.depth.colours import PUBLISHED_COLOURS, DepthColours


class DepthFeatures(FeatureTeacher):
    """Makes `depth_latent`, and keeps the disparity: float, in [0, 1] over the clip, near is large."""

    fields: Mapping[str, str] = {"depth_latent": "t h w c"}
    kept = ("disparity",)

    def __init__(self, teacher: DepthTeacher, colours: DepthColours = PUBLISHED_COLOURS):
        """Computes nothing yet.

        Args:
            teacher: Gives the depth.
            colours: How it is normalised and coloured.
        """
        self.name, self.weight_hash = teacher.name, teacher.weight_hash
        self._teacher, self._colours = teacher, colours

    @property
    def settings(self) -> Mapping[str, str]:
        """Those of the depth teacher."""
        return self._teacher.settings

    def __call__(self, clips: ClipBatch, codec: VideoCodec) -> dict[str, Array | np.ndarray]:
        """Returns `depth_latent` and `disparity`; a depth network sees every clip once, alone."""
        disparity = np.stack([self._disparity(clips, row) for row in range(clips.count)])
        coloured = np.stack([self._colours.colour(clip) for clip in disparity])
        # Rows that repeat the last clip.
        disparity, coloured = (_filled(array, len(clips.frames)) for array in (disparity, coloured))
        latent, _ = codec.encode(jnp.asarray(to_unit_range(coloured)))
        return {"depth_latent": latent, "disparity": disparity}

    def beside(self, path: Path) -> Iterator[Float[np.ndarray, "h w"]] | None:
        """What the depth teacher reads beside a video."""
        return self._teacher.beside(path)

    def check(self, path: Path, info: VideoInfo) -> None:
        """Lets the depth teacher check what lies beside a video."""
        self._teacher.check(path, info)

    def provenance(self, slot: str) -> dict[str, dict[str, str]]:
        """The depth teacher and its colours."""
        return {slot: identify(self._teacher) | self._colours.describe()}

    def _disparity(self, clips: ClipBatch, row: int) -> Float[np.ndarray, "f h w"]:
        beside = clips.beside is not None
        disparity = clips.beside[row] if beside else self._teacher(clips.frames[row], clips.fps, clips.paths[row])
        if not np.isfinite(disparity).all():
            raise UserError(f"the depth of {clips.paths[row]} by {self.name} is not finite: its range cannot be told")
        return self._colours.normalise(disparity)


def _filled(rows: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([rows, np.repeat(rows[-1:], count - len(rows), axis=0)])

"""Teachers of further fields, as anybody may write them: a config names them by dotted path."""

from collections.abc import Mapping

import numpy as np

from sr_jax.errors import UserError
from sr_jax.teachers.base import FeatureTeacher


class Tone(FeatureTeacher):
    """The mean colour of each latent frame."""

    name, weight_hash = "tone", "none"
    fields: Mapping[str, str] = {"tone": "t 3"}

    def __init__(self, section):
        self._scale = section["scale"]

    def __call__(self, clips, codec):
        colours = self._scale * clips.frames.mean(axis=(2, 3)) / 255
        ratio = codec.temporal_compression_ratio
        groups = colours[:, 1:].reshape(len(colours), -1, ratio, 3).mean(axis=2)
        return {"tone": np.concatenate([colours[:, :1], groups], axis=1)}


class Heat(FeatureTeacher):
    """What `NAME.heat.npz` beside a video holds for its pixels: the map of the middle frame; all maps are kept."""

    name, weight_hash = "heat", "none"
    fields: Mapping[str, str] = {"heat": "y x"}
    kept = ("maps",)
    settings: Mapping[str, str] = {"unit": "kelvin"}

    def __call__(self, clips, codec):
        return {"heat": clips.beside[:, clips.beside.shape[1] // 2], "maps": clips.beside}

    def beside(self, path):
        yield from np.load(path.with_suffix(".heat.npz"))["maps"].astype(np.float32)

    def check(self, path, info):
        if len(list(self.beside(path))) != info.num_frames:
            raise UserError(f"{path} has another number of maps than frames")

"""Captions as a field of a record."""

from collections.abc import Mapping

import numpy as np

from sr_jax.backbones.codec import VideoCodec
from sr_jax.teachers.base import ClipBatch, FeatureTeacher, TextTeacher


class TextFeatures(FeatureTeacher):
    """Makes `text_embedding`."""

    fields: Mapping[str, str] = {"text_embedding": "l d"}

    def __init__(self, teacher: TextTeacher):
        """Takes what embeds captions."""
        self.name, self.weight_hash = teacher.name, teacher.weight_hash
        self._teacher = teacher

    def __call__(self, clips: ClipBatch, codec: VideoCodec) -> dict[str, np.ndarray]:
        """Returns the embedding of each clip's caption."""
        del codec
        return {"text_embedding": self._teacher(clips.prompts)}

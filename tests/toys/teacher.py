"""A feature teacher in one file: the mean colours of a clip's quarters, for each latent frame."""

from collections.abc import Mapping

import numpy as np

from sr_jax.backbones.codec import VideoCodec
from sr_jax.teachers.base import ClipBatch, FeatureTeacher


class Quarters(FeatureTeacher):
    name, weight_hash = "quarters", "none"
    fields: Mapping[str, str] = {"toy_tokens": "t 2 2 3"}

    def __init__(self, section: Mapping[str, str]):
        del section

    def __call__(self, clips: ClipBatch, codec: VideoCodec) -> dict[str, np.ndarray]:
        count, frames, height, width, _ = clips.frames.shape
        quarters = clips.frames.reshape(count, frames, 2, height // 2, 2, width // 2, 3).mean(axis=(3, 5)) / 127.5 - 1
        # The first latent frame is of one frame, each other one of as many as the codec joins.
        later = (count, codec.latent_frames(frames) - 1, codec.temporal_compression_ratio, 2, 2, 3)
        joined = quarters[:, 1:].reshape(later).mean(axis=2)
        return {"toy_tokens": np.concatenate([quarters[:, :1], joined], axis=1)}

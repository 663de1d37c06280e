"""Faces as fields of a record: who is in a clip, and where."""

import numpy as np

from sr_jax.backbones.codec import VideoCodec
from sr_jax.data.fields import FACE_BOXES
from sr_jax.teachers.base import ClipBatch, FaceTeacher, FeatureTeacher, identify
from sr_jax.teachers.faces.tracks import face_tracks


class FaceFeatures(FeatureTeacher):
    """Makes `face_embedding` and `face_mask`, and `face_boxes` where they are wanted."""

    def __init__(self, teacher: FaceTeacher, *, boxes: bool = False):
        """Computes nothing yet.

        Args:
            teacher: Detector and recogniser.
            boxes: Whether to make `face_boxes`.
        """
        self.name, self.weight_hash = teacher.recogniser.name, teacher.recogniser.weight_hash
        self.fields = {"face_embedding": "t e", "face_mask": "t"} | (FACE_BOXES if boxes else {})
        self._teacher = teacher

    def __call__(self, clips: ClipBatch, codec: VideoCodec) -> dict[str, np.ndarray]:
        """Returns the fields of every clip's person."""
        tracks = face_tracks(
            clips.frames,
            self._teacher.detector,
            self._teacher.recogniser,
            codec.temporal_compression_ratio,
            choice=self._teacher.choice,
        )
        made = {"face_embedding": tracks.embeddings, "face_mask": tracks.mask, "face_boxes": tracks.boxes}
        return {name: made[name] for name in self.fields}

    def provenance(self, slot: str) -> dict[str, dict[str, str]]:
        """An entry for each of the two networks."""
        detector = identify(self._teacher.detector) | {"choice": self._teacher.choice}
        return {"face_detector": detector, "face_recogniser": identify(self._teacher.recogniser)}

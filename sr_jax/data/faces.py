"""How many clips of a dataset have a face: what the identity losses learn from."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Shaped


@dataclasses.dataclass(frozen=True)
class FaceCount:
    """Counts over the clips of a split.

    Attributes:
        clips: All clips.
        clips_with_face: Those with a face in at least one latent frame.
        frames: All latent frames.
        frames_with_face: Those with a face.
    """

    clips: int = 0
    clips_with_face: int = 0
    frames: int = 0
    frames_with_face: int = 0

    def with_clip(self, face_mask: Shaped[np.ndarray, " t"]) -> "FaceCount":
        """The counts with one more clip, whose mask is more than 0 where there is a face."""
        found = int(np.count_nonzero(face_mask > 0))
        return self + FaceCount(1, int(found > 0), len(face_mask), found)

    def __add__(self, other: "FaceCount") -> "FaceCount":
        return FaceCount(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other))))

    def __str__(self) -> str:
        return (
            f"{self.clips_with_face} of {self.clips} clips and {self.frames_with_face} of {self.frames} latent frames "
            "have a face"
        )


def describe(counts: Mapping[str, FaceCount]) -> str:
    """The counts of several splits in words, on one line."""
    return "; ".join(f"{split}: {count}" for split, count in sorted(counts.items(), reverse=True))

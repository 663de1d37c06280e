"""What reads video files for metrics: faces and depth, each only where a metric looks at it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.errors import UserError
from sr_jax.evaluation.judges import find_faces
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Faces, SetMetric
from sr_jax.evaluation.pairing import Pair
from sr_jax.media.images import read_image
from sr_jax.teachers.base import DepthTeacher, FaceTeacher, identify
from sr_jax.teachers.registry import load_depth_teacher, load_face_teacher


@dataclasses.dataclass(frozen=True)
class FileJudges:
    """What reads clips.

    Attributes:
        faces: Finds and embeds faces; None when no metric needs it.
        depth: Reads depth; None likewise.
        about: Names and hashes, for the results.
    """

    faces: FaceTeacher | None
    depth: DepthTeacher | None
    about: dict[str, Any]

    def read(self, clip: Clip, pair: Pair, fps: float) -> Clip:
        """The clip with all that the judges read in it.

        Args:
            clip: Its frames, and the real ones.
            pair: The files they are from.
            fps: Frames a second.

        Raises:
            UserError: When the reference image, or depth beside a file, cannot be read.
        """
        read: dict[str, Any] = {}
        if self.faces is not None:
            read |= {"faces": find_faces(clip.video, self.faces), "image_faces": self._image_faces(pair.image)}
            read["reference_faces"] = find_faces(clip.reference, self.faces)
        if self.depth is not None:
            read["depth"] = self._depth(clip.video, fps, pair.generated)
            read["reference_depth"] = self._depth(clip.reference, fps, pair.reference)
        return dataclasses.replace(clip, **read)

    def _image_faces(self, image: Path | None) -> Faces | None:
        return None if image is None else find_faces(read_image(image)[None], self.faces)

    def _depth(self, frames: UInt8[np.ndarray, "f h w 3"], fps: float, path: Path) -> Float[np.ndarray, "f h w"]:
        return np.asarray(self.depth(frames, fps, path), np.float32)


def load_judges(config: ml_collections.ConfigDict, metrics: Mapping[str, ClipMetric | SetMetric]) -> FileJudges:
    """Loads the judges that metrics need.

    Raises:
        UserError: When one cannot be loaded, or a metric reads what video files do not hold.
    """
    for name, metric in metrics.items():
        if "structure" in metric.needs:
            raise UserError(
                f"the metric {name!r} reads latents, which video files do not hold: score what `sample --data` wrote, "
                "or leave it out of config.metrics"
            )
        if "body_parts" in metric.needs:
            raise UserError(
                f"the metric {name!r} reads body parts with a judge of rendered people: score what `sample --data` "
                "wrote, or leave it out of config.metrics"
            )
    needed = {need for metric in metrics.values() for need in metric.needs}
    about: dict[str, Any] = {}
    faces = load_face_teacher(config.faces) if "faces" in needed else None
    if faces is not None:
        about |= {"face_detector": identify(faces.detector), "face_recogniser": identify(faces.recogniser)}
    depth = load_depth_teacher(config.depth) if "depth" in needed else None
    if depth is not None:
        about["depth"] = identify(depth)
    return FileJudges(faces, depth, about)

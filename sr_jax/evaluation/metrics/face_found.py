"""Whether a generated clip shows a face where the real one does."""

import numpy as np

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score, mean_where_defined


class Metric(ClipMetric):
    """The share of frames with a face, in percent of those that show one in the real clip."""

    score = Score(
        "face_found",
        "Faces found",
        "%",
        +1,
        1,
        "Of the frames in which the judge's detector finds a face in the real clip, those in which it finds one in the "
        "generated clip.",
    )
    needs = frozenset({"faces"})

    def measure(self, clip: Clip) -> Measurement:
        """Not defined for a clip without any face in its real frames."""
        shown = np.where(clip.reference_faces.found, clip.faces.found.astype(float), np.nan)
        return Measurement(mean_where_defined(100 * shown))

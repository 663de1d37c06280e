"""ID drift: does the person get further from the reference image over the time of a clip?"""

import numpy as np

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score
from sr_jax.evaluation.metrics.id_score import similarity_to_anchor

_LEAST_FRAMES = 3


class Metric(ClipMetric):
    """The slope of the cosine over time, times the length of the clip."""

    score = Score(
        "id_drift",
        "ID drift",
        "",
        +1,
        3,
        "How much the cosine between the faces of a frame and of the reference image changes from the first to the "
        "last frame, on the straight line that fits it best: below 0 the person is lost over time.",
    )
    needs = frozenset({"faces"})
    alone = True

    def measure(self, clip: Clip) -> Measurement:
        """Not defined where fewer than three frames show a face."""
        similarity = similarity_to_anchor(clip)
        seen = np.flatnonzero(np.isfinite(similarity))
        if len(seen) < _LEAST_FRAMES:
            return Measurement(None)
        slope = np.polyfit(seen, similarity[seen], 1)[0]
        return Measurement(float(slope * (len(similarity) - 1)))

"""Worst ID score: how far the person gets from the face of the reference image, in the worst frame."""

import numpy as np

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score
from sr_jax.evaluation.metrics.id_score import similarity_to_anchor


class Metric(ClipMetric):
    """The least cosine of any frame."""

    score = Score(
        "id_worst",
        "ID score, worst frame",
        "",
        +1,
        3,
        "The least cosine that the face of any frame has to the face of the reference image.",
    )
    needs = frozenset({"faces"})
    alone = True

    def measure(self, clip: Clip) -> Measurement:
        """Not defined where the ID score is not."""
        similarity = similarity_to_anchor(clip)
        return Measurement(None if np.isnan(similarity).all() else float(np.nanmin(similarity)))

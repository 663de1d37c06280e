"""How much a clip moves."""

import numpy as np

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score


class Metric(ClipMetric):
    """Mean length of the optical flow, in percent of the frame's height per frame."""

    score = Score(
        "motion_magnitude",
        "Amount of motion",
        "%",
        0,
        3,
        "Mean length of the optical flow, in percent of the frame's height per frame. Neither more nor less is better: "
        "compare it with the real clips.",
    )

    alone = True

    def measure(self, clip: Clip) -> Measurement:
        """The mean over all pixels of all frames."""
        return Measurement(float(np.linalg.norm(clip.flow, axis=-1).mean()))

"""Temporal flicker: how much neighbouring frames differ."""

import numpy as np

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score


class Metric(ClipMetric):
    """VBench's `temporal_flickering` (Huang et al. 2024): 1 less the mean difference of neighbouring frames."""

    score = Score(
        "temporal_flicker",
        "Steadiness",
        "",
        0,
        4,
        "1 less the mean absolute difference of neighbouring frames over 255, as VBench's temporal flickering. A still "
        "clip has 1: read it beside the amount of motion, and compare it with the real clips.",
    )
    alone = True

    def measure(self, clip: Clip) -> Measurement:
        """The mean over all pairs of neighbours."""
        pairs = zip(clip.video[:-1], clip.video[1:], strict=True)
        differences = [np.abs(after.astype(np.int16) - now).mean() for now, after in pairs]
        return Measurement(1 - float(np.mean(differences)) / 255)

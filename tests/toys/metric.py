"""A metric in one file: how much brighter or darker a clip is than the real one."""

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score


class Metric(ClipMetric):
    score = Score(
        "brightness_error", "Brightness error", "%", -1, 1, "Difference of the mean pixel to the real clip's."
    )

    def measure(self, clip: Clip) -> Measurement:
        return Measurement(float(abs(clip.video.mean() - clip.reference.mean()) / 2.55))

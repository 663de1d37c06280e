"""In how much of a clip there is a face at all."""

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score


class Metric(ClipMetric):
    """The share of frames with a face, in percent."""

    score = Score(
        "face_share",
        "Frames with a face",
        "%",
        0,
        1,
        "The share of all frames in which the judge's detector finds a face: the ID scores are of these alone.",
    )
    needs = frozenset({"faces"})
    alone = True

    def measure(self, clip: Clip) -> Measurement:
        """Of all frames, whatever the real clip shows."""
        return Measurement(float(100 * clip.faces.found.mean()))

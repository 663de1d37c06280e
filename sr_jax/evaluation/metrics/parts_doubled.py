"""How often a body part is there twice."""

from sr_jax.evaluation.body_parts import doubled
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score, body_part_tracks


class Metric(ClipMetric):
    """The share of frames in which a part is there twice, in percent."""

    score = Score(
        "parts_doubled",
        "Parts doubled",
        "%",
        -1,
        1,
        "Frames in which a judge of body parts finds a part in several pieces that together have at least 1.5 times "
        "its usual area in the real clip.",
        by_frame="% of clips with a part doubled",
    )
    needs = frozenset({"body_parts"})

    def measure(self, clip: Clip) -> Measurement:
        """The mean over frames."""
        frames = 100.0 * doubled(*body_part_tracks(clip))
        return Measurement(float(frames.mean()), frames)

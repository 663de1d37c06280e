"""How often a body part is missing."""

from sr_jax.evaluation.body_parts import missing
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score, body_part_tracks


class Metric(ClipMetric):
    """The share of frames in which a part is missing, in percent."""

    score = Score(
        "parts_missing",
        "Parts missing",
        "%",
        -1,
        1,
        "Frames in which a judge of body parts finds nothing of a part (head, torso, arms in three, legs) that the "
        "real first frame shows. Parts are hidden in real clips, too: compare with those.",
        by_frame="% of clips with a part missing",
    )
    needs = frozenset({"body_parts"})

    def measure(self, clip: Clip) -> Measurement:
        """The mean over frames."""
        frames = 100.0 * missing(*body_part_tracks(clip))
        return Measurement(float(frames.mean()), frames)

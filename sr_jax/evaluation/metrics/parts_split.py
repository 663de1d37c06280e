"""How often a body part is in pieces."""

from sr_jax.evaluation.body_parts import split
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score, body_part_tracks


class Metric(ClipMetric):
    """The share of frames in which a part is in several pieces, in percent."""

    score = Score(
        "parts_split",
        "Parts split",
        "%",
        -1,
        1,
        "Frames in which a judge of body parts finds a part in several pieces that together have less than 1.5 times "
        "its usual area in the real clip. An arm before the body splits it in real clips, too: compare with those.",
        by_frame="% of clips with a part in pieces",
    )
    needs = frozenset({"body_parts"})

    def measure(self, clip: Clip) -> Measurement:
        """The mean over frames."""
        frames = 100.0 * split(*body_part_tracks(clip))
        return Measurement(float(frames.mean()), frames)

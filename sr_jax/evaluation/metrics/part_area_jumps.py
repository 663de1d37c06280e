"""How much body parts change their size from frame to frame."""

from sr_jax.evaluation.body_parts import area_jumps
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score, body_part_tracks, mean_where_defined


class Metric(ClipMetric):
    """Departure of parts' areas from halfway between the frames before and after, in percent of their usual area."""

    score = Score(
        "part_area_jumps",
        "Jumps of parts' area",
        "%",
        -1,
        2,
        "How far the area of a body part, as a judge of parts finds it, is from halfway between those in the frames "
        "before and after, in percent of its usual area in the real clip; mean over parts and frames. A steady change "
        "counts nothing.",
        by_frame="% of the part's area",
    )
    needs = frozenset({"body_parts"})

    def measure(self, clip: Clip) -> Measurement:
        """Not defined for a clip of less than three frames, or whose real clip shows no part."""
        frames = area_jumps(*body_part_tracks(clip))
        return Measurement(mean_where_defined(frames), frames)

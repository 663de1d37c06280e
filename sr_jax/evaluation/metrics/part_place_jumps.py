"""How much body parts change their place from frame to frame."""

from sr_jax.evaluation.body_parts import place_jumps
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score, body_part_tracks, mean_where_defined


class Metric(ClipMetric):
    """Departure of parts' places from halfway between the frames before and after, in percent of the frame's height."""

    score = Score(
        "part_place_jumps",
        "Jumps of parts' place",
        "%",
        -1,
        3,
        "How far the centre of a body part, as a judge of parts finds it, is from halfway between those in the frames "
        "before and after, in percent of the frame's height; mean over parts and frames. An even motion counts "
        "nothing, but a clip that hardly moves does best: compare with the real clips.",
        by_frame="% of the frame's height",
    )
    needs = frozenset({"body_parts"})

    def measure(self, clip: Clip) -> Measurement:
        """Not defined for a clip of less than three frames, or in three successive ones of which no part is found."""
        tracks, _ = body_part_tracks(clip)
        frames = place_jumps(tracks, clip.video.shape[1])
        return Measurement(mean_where_defined(frames), frames)

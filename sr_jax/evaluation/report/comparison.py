"""A run against the baseline, score by score and clip by clip."""

import dataclasses

import numpy as np
from jaxtyping import Bool

from sr_jax.evaluation.bootstrap import Interval, mean_interval, statistic_interval
from sr_jax.evaluation.metrics.motion import motion_score
from sr_jax.evaluation.results import Results
from sr_jax.evaluation.scores import CLIP_SCORES, MOTION_SCORE, Score


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One score of a run and of the baseline.

    Attributes:
        score: Which score.
        value: Mean of the run over the clips where both have the score.
        baseline: Mean of the baseline over the same clips.
        difference: The run minus the baseline, with its bootstrap interval.
    """

    score: Score
    value: float
    baseline: float
    difference: Interval


def compare(run: Results, baseline: Results, chosen: Bool[np.ndarray, " n"] | None = None) -> dict[Score, Comparison]:
    """Compares two runs that were scored on the same clips.

    Args:
        run: The run.
        baseline: What it is compared with.
        chosen: Only these clips; all when None.

    Returns:
        A comparison for every score that at least two of the clips have in both runs, in the order of the table.
    """
    chosen = np.ones(len(run.clips), bool) if chosen is None else chosen
    comparisons = [_motion(run, baseline, chosen)] if chosen.sum() > 1 else []
    for score in CLIP_SCORES:
        ours, theirs = (results.values(score, "generated") for results in (run, baseline))
        both = chosen & np.isfinite(ours) & np.isfinite(theirs)
        if both.sum() > 1:
            interval = mean_interval(ours[both] - theirs[both], run.groups()[both])
            comparisons.append(Comparison(score, float(ours[both].mean()), float(theirs[both].mean()), interval))
    order = [score.key for score in (*CLIP_SCORES[:2], MOTION_SCORE, *CLIP_SCORES[2:])]
    return {item.score: item for item in sorted(comparisons, key=lambda item: order.index(item.score.key))}


def _motion(run: Results, baseline: Results, chosen: Bool[np.ndarray, " n"]) -> Comparison:
    """The motion score belongs to a set: both sets and the real clips are resampled together."""
    ours, theirs = (results.arrays["flow_generated"][chosen] for results in (run, baseline))
    real = run.arrays["flow_real"][chosen]
    interval = statistic_interval(
        lambda counts: motion_score(ours, real, counts) - motion_score(theirs, real, counts), run.groups()[chosen]
    )
    return Comparison(MOTION_SCORE, float(motion_score(ours, real)[0]), float(motion_score(theirs, real)[0]), interval)

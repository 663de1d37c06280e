"""A run against the baseline, metric by metric and clip by clip."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from sr_jax.evaluation.bootstrap import Interval, mean_interval, statistic_interval
from sr_jax.evaluation.metrics.base import Description, Score, find_metric
from sr_jax.evaluation.results import Results


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One score of a run and of the baseline.

    Attributes:
        score: Which score.
        value: Mean of the run over the clips where both have the score, or its value of the set.
        baseline: The same of the baseline, over the same clips.
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

    Raises:
        UserError: When a metric of sets is gone: its value is computed again for resampled sets.
    """
    chosen = np.ones(len(run.clips), bool) if chosen is None else chosen
    kinds = {"clip": _of_clips, "set": _of_sets}
    compared = [kinds[metric.level](metric, run, baseline, chosen) for metric in run.metrics]
    return {item.score: item for item in compared if item is not None}


def _of_clips(
    metric: Description, run: Results, baseline: Results, chosen: Bool[np.ndarray, " n"]
) -> Comparison | None:
    """The mean of the differences clip by clip."""
    ours, theirs = (results.values(metric.score, "generated") for results in (run, baseline))
    both = chosen & np.isfinite(ours) & np.isfinite(theirs)
    if both.sum() < 2:
        return None
    interval = mean_interval(ours[both] - theirs[both], run.groups()[both])
    return Comparison(metric.score, float(ours[both].mean()), float(theirs[both].mean()), interval)


def _of_sets(metric: Description, run: Results, baseline: Results, chosen: Bool[np.ndarray, " n"]) -> Comparison | None:
    """Both sets and the real clips are resampled together."""
    if chosen.sum() < 2:
        return None
    value, name = find_metric(metric.name).value, metric.features_name
    ours, theirs = (results.arrays[f"{name}_generated"][chosen] for results in (run, baseline))
    real = run.arrays[f"{name}_real"][chosen]

    def difference(counts: Int[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
        return value(ours, real, counts) - value(theirs, real, counts)

    once = np.ones((1, len(real)), int)
    return Comparison(
        metric.score,
        float(value(ours, real, once)[0]),
        float(value(theirs, real, once)[0]),
        statistic_interval(difference, run.groups()[chosen]),
    )

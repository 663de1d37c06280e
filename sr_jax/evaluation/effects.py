"""What a change of the training does to a score, from runs of several seeds: said in one way for every table.

An effect is the mean over held-out clips of what the clips' differences to the control are on average over the seeds.
Its interval is the bootstrap's by the people in the clips: new people are what the claim is about. How far the seeds
are apart is said beside it, and not mixed in: a handful of seeds is no sample to draw from. Two runs of a seed share
data order, noise and sampling, so that a difference within a seed is a paired one.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from sr_jax.evaluation.bootstrap import Interval, statistic_interval

ValueOfSet = Callable[
    [Float[np.ndarray, "n ..."], Float[np.ndarray, "n ..."], Int[np.ndarray, "r n"]], Float[np.ndarray, " r"]
]
"""`SetMetric.value`: the value of resampled sets from features of the scored and of the real clips."""

Claim = TypeVar("Claim")


@dataclasses.dataclass(frozen=True)
class Effect:
    """A run minus the control.

    Attributes:
        run: Mean of the run over seeds and clips.
        control: The same of the control.
        difference: Of them, with its interval by people.
        by_seed: The difference of each seed.
        gain: The difference as a share of that between the control and the real clips, which is 1 for a perfect
            generator; None where there is nothing clear to gain.
    """

    run: float
    control: float
    difference: Interval
    by_seed: tuple[float, ...]
    gain: Interval | None

    @property
    def seed_deviation(self) -> float | None:
        """Standard deviation of the difference over seeds (of the sample, n - 1); None for a single one."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None


def effect_on_clips(
    run: Float[np.ndarray, "s n"],
    control: Float[np.ndarray, "s n"],
    real: Float[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
) -> Effect | None:
    """The effect on a score that every clip has.

    Args:
        run: The score of each clip and seed, NaN where not defined.
        control: The same of the control.
        real: The same of the real clips.
        groups: Number of the person of each clip.

    Returns:
        The effect, from the clips and seeds that have the score in both; None when fewer than two clips do.
    """
    differences, gains = run - control, real - control
    there = np.isfinite(differences)
    kept = there.any(axis=0)
    if kept.sum() < 2:
        return None
    values = _mean_over_seeds(differences, there)[kept]
    # What there is to gain is that of the same clips and seeds.
    gain = _mean_over_seeds(np.where(there, gains, np.nan), there)[kept]
    with_gain = np.isfinite(gain)

    def mean(of: Float[np.ndarray, " m"]) -> Callable[[Int[np.ndarray, "r m"]], Float[np.ndarray, " r"]]:
        return lambda counts: counts @ of / counts.sum(axis=1)

    return Effect(
        run=float(_mean_over_seeds(run, there)[kept].mean()),
        control=float(_mean_over_seeds(control, there)[kept].mean()),
        difference=statistic_interval(mean(values), groups[kept]),
        by_seed=tuple(float(row[defined].mean()) for row, defined in zip(differences, there) if defined.any()),
        gain=_share(mean(values[with_gain]), mean(gain[with_gain]), groups[kept][with_gain]),
    )


def effect_on_sets(
    run: Float[np.ndarray, "s n ..."],
    control: Float[np.ndarray, "s n ..."],
    codec: Float[np.ndarray, "n ..."],
    real: Float[np.ndarray, "n ..."],
    value: ValueOfSet,
    groups: Int[np.ndarray, " n"],
) -> Effect | None:
    """The effect on a score that only a set of clips has, such as a Fréchet distance; all sets are resampled together.

    Args:
        run: Features of each clip and seed.
        control: The same of the control.
        codec: Features of the real clips as the codec encodes them: what a perfect generator has.
        real: Features of the real clips.
        value: Gives the value of sets.
        groups: Number of the person of each clip.

    Returns:
        The effect; None for fewer than two clips.
    """
    if len(real) < 2:
        return None

    def over_seeds(features: Float[np.ndarray, "s n ..."], counts: Int[np.ndarray, "r n"]) -> Float[np.ndarray, "s r"]:
        return np.stack([value(seed, real, counts) for seed in features])

    def difference(counts: Int[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
        return (over_seeds(run, counts) - over_seeds(control, counts)).mean(axis=0)

    def to_gain(counts: Int[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
        return value(codec, real, counts) - over_seeds(control, counts).mean(axis=0)

    once = np.ones((1, len(real)), int)
    values, theirs = (over_seeds(features, once)[:, 0] for features in (run, control))
    return Effect(
        run=float(values.mean()),
        control=float(theirs.mean()),
        difference=statistic_interval(difference, groups),
        by_seed=tuple((values - theirs).tolist()),
        gain=_share(difference, to_gain, groups),
    )


def _mean_over_seeds(values: Float[np.ndarray, "s n"], there: np.ndarray) -> Float[np.ndarray, " n"]:
    """Mean of each clip over the seeds in which it is there; NaN for a clip that is there in none."""
    counts = there.sum(axis=0)
    return np.where(counts > 0, np.where(there, values, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _share(
    part: Callable[[Int[np.ndarray, "r n"]], Float[np.ndarray, " r"]],
    whole: Callable[[Int[np.ndarray, "r n"]], Float[np.ndarray, " r"]],
    groups: Int[np.ndarray, " n"],
) -> Interval | None:
    """The interval of a ratio, both sides of which are resampled together; None where the whole may be zero."""
    if len(groups) < 2 or not statistic_interval(whole, groups).excludes_zero:
        return None
    return statistic_interval(lambda counts: part(counts) / whole(counts), groups)


def holm(p_values: Mapping[Claim, float]) -> dict[Claim, float]:
    """P-values corrected for the number of claims, so that all claims of a table hold together (Holm 1979).

    The i-th smallest of m, from 0, counts m - i times, and never less than one that is smaller. With these below 0.05
    the chance that any true hypothesis among the m is rejected is at most 0.05, however they depend on each other.
    """
    ordered = sorted(p_values, key=lambda claim: p_values[claim])
    corrected: dict[Claim, float] = {}
    largest = 0.0
    for place, claim in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - place) * p_values[claim]))
        corrected[claim] = largest
    return {claim: corrected[claim] for claim in p_values}

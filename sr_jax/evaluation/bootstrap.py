"""Bootstrap intervals over clips: how far would the result move with other clips of the same kind?"""

import dataclasses
import statistics
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 2000
LEVEL = 0.95
POWER = 0.8
"""How often an experiment sees the smallest difference that it is said to be able to see."""
MIN_GROUPS = 6
"""Of fewer people or videos, not even all on one side would be evidence at this level: 2 / 2^5 > 0.05."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval.

    Attributes:
        estimate: The value on the clips as they are.
        low: Lower end of the interval.
        high: Upper end of the interval.
        clips: Number of clips behind it.
        groups: Number of groups (people, or else videos) that the clips are of.
        p_value: Of there being no difference, two-sided: below 1 - `LEVEL` when the interval leaves out zero.
    """

    estimate: float
    low: float
    high: float
    clips: int
    groups: int
    p_value: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    @property
    def has_few_groups(self) -> bool:
        """Whether there are too few groups to draw from for the interval to mean much."""
        return self.groups < MIN_GROUPS

    @property
    def smallest_visible(self) -> float:
        """The true difference of which `POWER` of such experiments would have an interval that leaves out zero.

        (z(1 - alpha / 2) + z(power)) standard errors, of an estimate that is about normal (Cohen 1988, section 2.2);
        the interval is 2 z(1 - alpha / 2) of them wide.
        """
        normal = statistics.NormalDist()
        level, power = normal.inv_cdf((1 + LEVEL) / 2), normal.inv_cdf(POWER)
        return (self.high - self.low) / 2 * (level + power) / level


def resample_counts(
    groups: Int[np.ndarray, " n"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Int[np.ndarray, "r n"]:
    """How often each clip is drawn in each resample: groups of clips are drawn with replacement, whole.

    Clips of one person or video resemble each other, so it is those that are drawn, not clips (the cluster bootstrap,
    Davison and Hinkley 1997, section 3.8). Counts instead of indices, so that a mean over a resample is one matrix
    product, and so that two runs scored on the same clips are resampled together (paired).

    Args:
        groups: Number of the group of each clip, `[N]`, from 0 without gaps.
        resamples: Number of resamples R.
        seed: Seed of the draws.

    Returns:
        `[R, N]`; as many groups are drawn in every row as there are.
    """
    size = int(groups.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=resamples)
    return drawn[:, groups]


def mean_interval(values: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"], *, seed: int = 0) -> Interval:
    """Mean over clips with its bootstrap interval (see `statistic_interval`).

    Called on the differences of two runs clip by clip, this is the paired comparison of the two.

    Args:
        values: One finite value a clip, `[N]`.
        groups: Number of the group of each clip.
        seed: Seed of the resampling.

    Returns:
        The mean and its 95% interval.
    """
    return statistic_interval(lambda counts: counts @ values / counts.sum(axis=1), groups, seed=seed)


def statistic_interval(
    statistic: Callable[[Int[np.ndarray, "r n"]], Float[np.ndarray, " r"]],
    groups: Int[np.ndarray, " n"],
    *,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of any statistic of a set of clips, such as a Fréchet distance.

    The percentile interval (Efron and Tibshirani 1993, section 13.3) moved so that the resampled values centre on the
    estimate. For a mean the move is next to nothing. A Fréchet distance grows when clips repeat, as they do in every
    resample, and without the move its interval could miss its own estimate.

    Args:
        statistic: From counts `[R, N]` (how often each clip is in each set) to the statistic of each set, `[R]`.
        groups: Number of the group of each clip, `[N]`; gaps in the numbers do not matter.
        seed: Seed of the resampling.

    Returns:
        The statistic of all clips, each counted once, and its 95% interval. The p-value is twice the share of
        resampled values on the other side of zero, of which one more is counted than there is (Davison and Hinkley
        1997, section 4.2.3).
    """
    groups = np.unique(groups, return_inverse=True)[1]
    estimate = float(statistic(np.ones((1, len(groups)), int))[0])
    resampled = statistic(resample_counts(groups, seed=seed))
    centred = resampled - resampled.mean() + estimate
    low, high = np.quantile(centred, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    beyond = min((centred <= 0).sum(), (centred >= 0).sum())
    p_value = min(1.0, 2 * (1 + int(beyond)) / (1 + len(centred)))
    return Interval(estimate, float(low), float(high), len(groups), int(groups.max()) + 1, p_value)

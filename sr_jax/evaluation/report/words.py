"""Says in words what the numbers say, and nothing more."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from sr_jax.evaluation.bootstrap import LEVEL, MIN_GROUPS, POWER, Interval
from sr_jax.evaluation.metrics.base import Score

BETTER, WORSE, UNDECIDED, FEW, NO_VERDICT = "better", "worse", "undecided", "few", "none"


def verdict(score: Score, interval: Interval) -> str:
    """Whether a run beats the baseline on a score.

    Args:
        score: Which way is better.
        interval: Of the run's value minus the baseline's.

    Returns:
        `BETTER` or `WORSE` when the interval leaves out zero, `UNDECIDED` when it holds it, `FEW` when the clips are
        of too few people or videos for either, `NO_VERDICT` for a score that only describes.
    """
    if score.direction == 0:
        return NO_VERDICT
    if interval.has_few_groups:
        return FEW
    if not interval.excludes_zero:
        return UNDECIDED
    return BETTER if interval.estimate * score.direction > 0 else WORSE


def number(score: Score, value: float | None) -> str:
    """A value with the score's decimals and unit; a dash for a value that is not defined."""
    if value is None:
        return "\N{EN DASH}"
    return _minus(f"{value:.{score.digits}f} {score.unit}".strip())


def difference(score: Score, interval: Interval) -> tuple[str, str]:
    """The estimate and the ends of a difference: "+0.11 points" and "+0.06 to +0.15 points".

    Two digits of the larger end are always shown, so that a small difference does not look like none. Differences of
    percentages are in points, because "2 % higher" could be read as a ratio.
    """
    reach = max(abs(interval.low), abs(interval.high))
    digits = max(score.digits, 1 - math.floor(math.log10(reach))) if reach > 1e-9 else score.digits
    unit = {"%": " points", "": ""}.get(score.unit, f" {score.unit}")
    estimate, low, high = (f"{value:+.{digits}f}" for value in (interval.estimate, interval.low, interval.high))
    return _minus(estimate + unit), _minus(f"{low} to {high}{unit}")


def percent(share: float) -> str:
    """A share in whole percents; what rounds to nothing has no sign."""
    return _minus(f"{round(100 * share)}%")


def visible(score: Score, interval: Interval) -> str:
    """What an undecided difference leaves open: "a difference of 0.31 points would have been seen"."""
    size, _ = difference(score, dataclasses.replace(interval, estimate=interval.smallest_visible))
    return f"a difference of {size.removeprefix('+')} would have been seen with {POWER:.0%} probability"


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def headline(run: str, baseline: str, differences: Mapping[Score, Interval], group_name: str) -> str:
    """One sentence: on what the run is better, worse, undecided; `group_name` as in `Results`."""
    groups = {kind: [inline(s) for s, d in differences.items() if verdict(s, d) == kind] for kind in _ORDER}
    parts = [f"{_VERBS[kind].format(group_name)} {listed(labels)}" for kind, labels in groups.items() if labels]
    if not parts:
        return f"No score says whether {run} or {baseline} is better."
    clips = max(interval.clips for interval in differences.values())
    return f"On {clips} held-out clips, {run} {'; '.join(parts)}, compared with {baseline}."


def sentences(
    run: str,
    baseline: str,
    values: Mapping[Score, tuple[float, float]],
    differences: Mapping[Score, Interval],
    group_name: str,
) -> list[str]:
    """One sentence for each score with a direction.

    Args:
        run: Name of the run.
        baseline: Name of the run that it is compared with.
        values: Value of the run and of the baseline for each score, on the clips that both have.
        differences: Interval of run minus baseline.
        group_name: What the intervals' groups are, as in `Results`.
    """
    result = []
    for score, interval in differences.items():
        kind = verdict(score, interval)
        if kind == NO_VERDICT:
            continue
        ours, theirs = (number(score, value) for value in values[score])
        size, ends = difference(score, interval)
        behind = f"{LEVEL:.0%} interval {ends}, {interval.clips} clips of {interval.groups} {group_name}"
        result.append(
            f"{score.label}: {run} {ours}, {baseline} {theirs}; difference {size} ({behind}). "
            f"{_READING[kind].format(groups=group_name, visible=visible(score, interval))}"
        )
    return result


def against_the_paper(run: str, differences: Mapping[Score, Interval]) -> str:
    """Whether the ordering of the paper's Table 1 shows here, for the scores where the paper finds an improvement."""
    kinds = {score: verdict(score, interval) for score, interval in differences.items() if score.paper_finds_better}
    if not kinds:
        return ""
    agreed = [inline(score) for score, kind in kinds.items() if kind == BETTER]
    opposed = [inline(score) for score, kind in kinds.items() if kind == WORSE]
    undecided = [inline(score) for score, kind in kinds.items() if kind in (UNDECIDED, FEW)]
    outcome = [f"the same ordering shows here for {listed(agreed)}"] * bool(agreed)
    outcome += [f"the opposite shows here for {listed(opposed)}"] * bool(opposed)
    outcome += [f"these clips do not decide it for {listed(undecided)}"] * bool(undecided)
    expected = listed([inline(score) for score in kinds])
    return f"The paper's Table 1 finds {expected} better with {run} than with fine-tuning alone: {'; '.join(outcome)}."


def inline(score: Score) -> str:
    """The score's label within a sentence: "structure error", but "PSNR"."""
    return score.label if score.label[1].isupper() else score.label[0].lower() + score.label[1:]


def listed(names: Sequence[str]) -> str:
    """Names as English lists them: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""


DIRECTIONS = {1: "higher is better", -1: "lower is better", 0: "describes only"}
"""What a table says of a score's direction."""

CHIPS = {BETTER: "better", WORSE: "worse", UNDECIDED: "undecided", FEW: "too few", NO_VERDICT: "\N{EN DASH}"}
"""What a table shows for each verdict."""

_ORDER = (BETTER, WORSE, UNDECIDED, FEW)
_VERBS = {
    BETTER: "is better on",
    WORSE: "is worse on",
    UNDECIDED: "shows no clear difference on",
    FEW: "was tried on too few {} for a verdict on",
}
_READING = {
    BETTER: "Better: the interval leaves out zero.",
    WORSE: "Worse: the interval leaves out zero.",
    UNDECIDED: "Undecided: the interval holds zero; {visible}.",
    FEW: f"No verdict: fewer than {MIN_GROUPS} {{groups}}.",
}

"""Says in words what the numbers say, and nothing more."""

from collections.abc import Mapping, Sequence

from sr_jax.evaluation.bootstrap import LEVEL, Interval
from sr_jax.evaluation.scores import Score

BETTER, WORSE, UNDECIDED, NO_VERDICT = "better", "worse", "undecided", "none"


def verdict(score: Score, difference: Interval) -> str:
    """Whether a run beats the baseline on a score.

    Args:
        score: Which way is better.
        difference: Interval of the run's value minus the baseline's.

    Returns:
        `BETTER` or `WORSE` when the interval leaves out zero, `UNDECIDED` when it holds it, `NO_VERDICT` for a score
        that only describes.
    """
    if score.direction == 0:
        return NO_VERDICT
    if not difference.excludes_zero:
        return UNDECIDED
    return BETTER if difference.estimate * score.direction > 0 else WORSE


def number(score: Score, value: float | None, *, signed: bool = False) -> str:
    """A value with the score's decimals and unit, with a real minus sign; a dash for a value that is not defined.

    A `signed` value is a difference: of percentages, in points, because "2 % higher" could be read as a ratio.
    """
    if value is None:
        return "\N{EN DASH}"
    text = f"{value:+.{score.digits}f}" if signed else f"{value:.{score.digits}f}"
    unit = "points" if signed and score.unit == "%" else score.unit
    return (f"{text} {unit}" if unit else text).replace("-", "\N{MINUS SIGN}")


def span(score: Score, interval: Interval) -> str:
    """The ends of a difference's interval, the unit once: "+0.06 to +0.15 points"."""
    low = f"{interval.low:+.{score.digits}f}".replace("-", "\N{MINUS SIGN}")
    return f"{low} to {number(score, interval.high, signed=True)}"


def headline(run: str, baseline: str, differences: Mapping[Score, Interval]) -> str:
    """One sentence: on what the run is better, worse, undecided."""
    groups = {kind: [inline(s) for s, d in differences.items() if verdict(s, d) == kind] for kind in _ORDER}
    parts = [f"{_VERBS[kind]} {listed(labels)}" for kind, labels in groups.items() if labels]
    clips = max(interval.clips for interval in differences.values())
    return f"On {clips} held-out clips, {run} {'; '.join(parts)}, compared with {baseline}."


def sentences(
    run: str, baseline: str, values: Mapping[Score, tuple[float, float]], differences: Mapping[Score, Interval]
) -> list[str]:
    """One sentence for each score with a direction.

    Args:
        run: Name of the run.
        baseline: Name of the run that it is compared with.
        values: Value of the run and of the baseline for each score, on the clips that both have.
        differences: Interval of run minus baseline.
    """
    result = []
    for score, difference in differences.items():
        kind = verdict(score, difference)
        if kind == NO_VERDICT:
            continue
        ours, theirs = (number(score, value) for value in values[score])
        move = "higher" if difference.estimate > 0 else "lower"
        size = number(score, abs(difference.estimate), signed=True).removeprefix("+")
        interval = (
            f"{LEVEL:.0%} interval {span(score, difference)}, {difference.clips} clips of {difference.groups} people"
        )
        result.append(f"{score.label}: {run} {ours}, {baseline} {theirs}; {size} {move} ({interval}). {_READING[kind]}")
    return result


def against_the_paper(run: str, differences: Mapping[Score, Interval]) -> str:
    """Whether the ordering of the paper's Table 1 shows here, for the scores where the paper finds an improvement."""
    kinds = {score: verdict(score, interval) for score, interval in differences.items() if score.paper_finds_better}
    if not kinds:
        return ""
    agreed = [inline(score) for score, kind in kinds.items() if kind == BETTER]
    opposed = [inline(score) for score, kind in kinds.items() if kind == WORSE]
    undecided = [inline(score) for score, kind in kinds.items() if kind == UNDECIDED]
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


CHIPS = {BETTER: "better", WORSE: "worse", UNDECIDED: "undecided", NO_VERDICT: "\N{EN DASH}"}
"""What a table shows for each verdict."""

_ORDER = (BETTER, WORSE, UNDECIDED)
_VERBS = {BETTER: "is better on", WORSE: "is worse on", UNDECIDED: "shows no clear difference on"}
_READING = {
    BETTER: "Better: the interval leaves out zero.",
    WORSE: "Worse: the interval leaves out zero.",
    UNDECIDED: "Undecided: the interval holds zero.",
}

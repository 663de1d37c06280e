import dataclasses

import numpy as np
import pytest

from sr_jax.evaluation.bootstrap import Interval
from sr_jax.evaluation.metrics.base import describe
from sr_jax.evaluation.report import words
from sr_jax.evaluation.report.comparison import compare
from sr_jax.evaluation.results import Results
from tests.evaluation.conftest import make_metrics

METRICS = describe(make_metrics())
STRUCTURE_ERROR, ID_SCORE, MOTION_SCORE, PSNR, SSIM, FACE_FOUND, MOTION_MAGNITUDE = (metric.score for metric in METRICS)
CLIP_SCORES = [metric.score for metric in METRICS if metric.level == "clip"]

UP, DOWN, OPEN = (Interval(*ends, 48, 24, 0.01) for ends in ((0.2, 0.1, 0.3), (-0.2, -0.3, -0.1), (0.1, -0.1, 0.3)))


@pytest.mark.parametrize(
    ("score", "difference", "expected"),
    [
        (PSNR, UP, words.BETTER),
        (PSNR, DOWN, words.WORSE),
        (STRUCTURE_ERROR, UP, words.WORSE),
        (STRUCTURE_ERROR, DOWN, words.BETTER),
        (ID_SCORE, OPEN, words.UNDECIDED),
        (ID_SCORE, dataclasses.replace(UP, groups=6), words.BETTER),
        (ID_SCORE, dataclasses.replace(UP, groups=5), words.FEW),
        (PSNR, Interval(0.2, 0.2, 0.2, 5, 1, 0.01), words.FEW),
        (MOTION_MAGNITUDE, UP, words.NO_VERDICT),
    ],
)
def test_verdicts_follow_the_interval_and_the_direction(score, difference, expected):
    assert words.verdict(score, difference) == expected


def test_headline_names_every_score_with_a_direction_once():
    differences = {STRUCTURE_ERROR: DOWN, ID_SCORE: UP, PSNR: DOWN, MOTION_SCORE: OPEN, MOTION_MAGNITUDE: UP}
    assert words.headline("ours", "control", differences, "people") == (
        "On 48 held-out clips, ours is better on structure error and ID score; is worse on PSNR; "
        "shows no clear difference on motion score, compared with control."
    )
    few = {score: dataclasses.replace(interval, groups=3) for score, interval in differences.items()}
    assert words.headline("ours", "control", few, "videos") == (
        "On 48 held-out clips, ours was tried on too few videos for a verdict on structure error, ID score, PSNR and "
        "motion score, compared with control."
    )
    assert words.against_the_paper("ours", few).endswith("these clips do not decide it for ID score and motion score.")


def test_sentences_give_values_difference_and_interval():
    [first, second] = words.sentences(
        "ours",
        "control",
        {STRUCTURE_ERROR: (9.8, 10.0), FACE_FOUND: (90.1, 90.0)},
        {STRUCTURE_ERROR: DOWN, FACE_FOUND: OPEN},
        "people",
    )
    assert first == (
        "Structure error: ours 9.80 %, control 10.00 %; difference \N{MINUS SIGN}0.20 points (95% interval "
        "\N{MINUS SIGN}0.30 to \N{MINUS SIGN}0.10 points, 48 clips of 24 people). Better: the interval leaves out zero."
    )
    # The interval is 0.4 wide: 0.2 times (1.960 + 0.842) / 1.960.
    assert second.endswith(
        "Undecided: the interval holds zero; a difference of 0.29 points would have been seen with 80% probability."
    )


def test_small_differences_keep_two_digits():
    assert words.difference(PSNR, Interval(-0.0004, -0.0007, -0.0001, 9, 9, 0.01)) == (
        "\N{MINUS SIGN}0.00040 dB",
        "\N{MINUS SIGN}0.00070 to \N{MINUS SIGN}0.00010 dB",
    )
    assert words.difference(PSNR, Interval(0.0, 0.0, 0.0, 9, 9, 1.0)) == ("+0.00 dB", "+0.00 to +0.00 dB")


@pytest.mark.parametrize(
    ("share", "text"), [(0.1526, "15%"), (-0.004, "0%"), (0.0, "0%"), (-0.07, "\N{MINUS SIGN}7%"), (1.2, "120%")]
)
def test_shares_that_round_to_nothing_have_no_sign(share, text):
    assert words.percent(share) == text


def test_the_paper_is_only_quoted_for_what_it_claims():
    text = words.against_the_paper("ours", {ID_SCORE: UP, MOTION_SCORE: UP, PSNR: UP})
    assert "the same ordering shows here for ID score" in text
    assert "the opposite shows here for motion score" in text
    assert "PSNR" not in text


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_lists(names, text):
    assert words.listed(names) == text


def _results(shift: float, *, undefined: int = 0, seed: int = 0, videos: int = 12) -> Results:
    random = np.random.default_rng(seed)
    clips = []
    for number in range(12):
        values = {score.key: float(random.normal() + shift) for score in CLIP_SCORES}
        if number < undefined:
            values["id_score"] = None
        clip = {"clip_id": str(number), "prompt": "", "source": f"{number % videos}.mp4", "labels": {}}
        clips.append(clip | {"generated": values, "codec": values})
    real = np.random.default_rng(9).normal(size=(12, 6, 4))
    return Results(METRICS, clips, {}, {}, {"flow_generated": real + shift, "flow_real": real})


def test_comparison_is_paired_and_uses_clips_that_both_have():
    compared = compare(_results(0.3, undefined=2), _results(0.0, undefined=3))
    assert list(compared) == [metric.score for metric in METRICS]
    # The same random part in both: only a paired comparison finds an interval without width.
    assert compared[PSNR].difference.low == pytest.approx(0.3) == compared[PSNR].difference.high
    assert compared[PSNR].difference.clips == 12 and compared[ID_SCORE].difference.clips == 9
    ours = _results(0.3).values(ID_SCORE, "generated")[3:].mean()
    assert compared[ID_SCORE].value == pytest.approx(ours)
    assert words.verdict(MOTION_SCORE, compared[MOTION_SCORE].difference) == words.WORSE
    assert compared[MOTION_SCORE].value == pytest.approx(4 * 0.3**2, rel=1e-3)


def test_comparison_of_a_part_of_the_clips():
    chosen = np.arange(12) < 5
    compared = compare(_results(0.3), _results(0.0, seed=1), chosen)
    expected = (_results(0.3).values(PSNR, "generated") - _results(0.0, seed=1).values(PSNR, "generated"))[:5].mean()
    assert compared[PSNR].difference.estimate == pytest.approx(expected)
    assert compared[MOTION_SCORE].difference.clips == 5
    assert compare(_results(0.3), _results(0.0), np.arange(12) < 1) == {}


def test_clips_of_one_video_are_one_group_where_labels_do_not_say_who():
    run, baseline = _results(0.3, videos=2), _results(0.0, videos=2)
    differences = {score: item.difference for score, item in compare(run, baseline).items()}
    assert {interval.groups for interval in differences.values()} == {2}
    assert words.verdict(PSNR, differences[PSNR]) == words.FEW
    lines = words.sentences("ours", "control", dict.fromkeys(differences, (1.0, 1.0)), differences, "videos")
    assert all("12 clips of 2 videos). No verdict: fewer than 6 videos." in line for line in lines)
    assert run.group_name == "videos"
    run.clips[0]["labels"]["identity"] = "Ada"
    assert run.group_name == "people or videos" and len(set(run.groups())) == 3

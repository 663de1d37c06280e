import json
import shutil

import numpy as np
import pytest

from sr_jax.configs.evaluate import get_config
from sr_jax.errors import UserError
from sr_jax.evaluation import judging
from sr_jax.evaluation.bootstrap import statistic_interval
from sr_jax.evaluation.metrics.base import build_metrics
from sr_jax.evaluation.report.comparison import compare
from sr_jax.evaluation.report.inputs import read_inputs
from sr_jax.evaluation.report.page import build_page
from sr_jax.evaluation.results import read_results, summary
from sr_jax.media.video import read_video
from tests.evaluation.conftest import CLIPS
from tests.evaluation.fakes import PatchCodec

OWN = "tests.evaluation.own_metrics"
NAMES = ("psnr", f"{OWN}:Redness", f"{OWN}:ColourDistance")


def _config(*names: str):
    config = get_config("people")
    config.metrics = names
    return config


@pytest.fixture(scope="module")
def scored(data, runs, tmp_path_factory):
    """Results of the runs with own metrics; no judge is loaded, for none of them needs one."""
    outputs = {name: tmp_path_factory.mktemp("own") / name / "metrics.json" for name in runs}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "load_codec", lambda section: PatchCodec())
        for name, folder in runs.items():
            reference = data / "clips" / "test"
            judging.evaluate(_config(*NAMES), generated=folder, reference=reference, output=outputs[name])
            assert not (outputs[name].parent / judging.DEPTH_FOLDER).exists()
    return outputs


def _values(folder) -> np.ndarray:
    """Redness of the clips of a run, as their videos show them, in order; an mp4 is not lossless."""
    videos = [read_video(path)[0] for path in sorted(folder.glob("held_out*.mp4"))]
    return np.array([100 * video[..., 0].mean() / 255 for video in videos])


def test_own_metrics_are_scored_and_stored(scored, runs):
    results = read_results(scored["control"])
    assert [(metric.name, metric.level) for metric in results.metrics] == [
        ("psnr", "clip"),
        (f"{OWN}:Redness", "clip"),
        (f"{OWN}:ColourDistance", "set"),
    ]
    assert results.scores[1].meaning == "Share of red < the rest." and results.scores[1].by_frame == "% of red"
    assert results.arrays["redness_generated"].shape == (CLIPS, 5)
    values = np.array([clip["generated"]["redness"] for clip in results.clips], float)
    assert np.isfinite(values).any() and np.isnan(values).any()
    np.testing.assert_allclose(results.means["generated"]["redness"], np.nanmean(values), rtol=1e-12)
    np.testing.assert_allclose(values, np.where(np.isnan(values), np.nan, _values(runs["control"])), atol=3)
    colours, real = results.arrays["colour_generated"], results.arrays["colour_real"]
    expected = np.square(colours.mean(axis=0) - real.mean(axis=0)).sum()
    np.testing.assert_allclose(results.means["generated"]["colour_distance"], expected, rtol=1e-5)
    assert results.means["codec"]["colour_distance"] < 1 < expected
    # The same numbers as among the others.
    among_others = json.loads((runs["control"] / "metrics.json").read_text())["means"]["generated"]["psnr"]
    assert results.means["generated"]["psnr"] == among_others
    assert "Redness (%)" in summary(results) and results.about["judges"].keys() == {"codec"}


def test_own_metrics_are_compared(scored):
    ours, theirs = (read_results(path) for path in scored.values())
    compared = compare(ours, theirs)
    assert list(compared) == ours.scores
    redness, distance = (compared[score] for score in ours.scores[1:])
    differences = ours.values(ours.scores[1], "generated") - theirs.values(ours.scores[1], "generated")
    np.testing.assert_allclose(redness.difference.estimate, np.nanmean(differences))
    assert redness.difference.clips == np.isfinite(differences).sum()
    real, groups = ours.arrays["colour_real"].mean(axis=0), ours.groups()
    values = [np.square(run.arrays["colour_generated"].mean(axis=0) - real).sum() for run in (ours, theirs)]
    np.testing.assert_allclose([distance.value, distance.baseline], values)
    np.testing.assert_allclose(distance.difference.estimate, values[0] - values[1])
    assert distance.difference.low < distance.difference.estimate < distance.difference.high

    def one_by_one(counts):
        totals = []
        for row in counts:
            drawn = np.repeat(np.arange(CLIPS), row)
            means = [run.arrays["colour_generated"][drawn].mean(axis=0) for run in (ours, theirs)]
            real = ours.arrays["colour_real"][drawn].mean(axis=0)
            totals.append(np.square(means[0] - real).sum() - np.square(means[1] - real).sum())
        return np.array(totals)

    expected = statistic_interval(one_by_one, groups)
    np.testing.assert_allclose([distance.difference.low, distance.difference.high], [expected.low, expected.high])


def test_own_metrics_are_in_the_report(scored, runs, data, tmp_path):
    folders = {}
    for name, path in scored.items():
        folders[name] = tmp_path / name
        shutil.copytree(runs[name], folders[name], ignore=shutil.ignore_patterns("depth", "metrics.*"))
        for results in (path, path.with_suffix(".npz")):
            shutil.copy(results, folders[name])
    sources = {"title": "", "notes": [], "data": data, "trainings": [], "fitted": [], "steps": None}
    inputs = read_inputs(**sources, runs=[f"{name}={folder}" for name, folder in folders.items()])
    page = " ".join(build_page(inputs).split())
    assert "<td>Redness<small>higher is better</small></td>" in page
    assert "<td>Colour distance<small>lower is better</small></td>" in page
    assert "<dt>Redness</dt><dd>Share of red &lt; the rest.</dd>" in page
    assert "Redness over the time of a clip" in page and ">% of red</text>" in page
    assert page.count("<small>Redness: real ") == sum(
        clip["codec"]["redness"] is not None for clip in read_results(scored["control"]).clips
    )
    # What no metric needed is not spoken of.
    for absent in ("Structure error", "Two judges", "A judge reads", "Below: the depth", "nan "):
        assert absent not in page


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("sharpness",), "no metric is called 'sharpness': choose one of clip_text, cpbd, depth_flicker, "),
        (("tests.nowhere:Metric",), r"the metric 'tests\.nowhere:Metric' cannot be imported"),
        ((f"{OWN}:Thirsty",), "needs 'water': what there is are structure, faces"),
    ],
)
def test_metrics_that_are_none_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        build_metrics(_config(*names))


def test_two_metrics_with_one_key_are_refused():
    with pytest.raises(UserError, match=r"several metrics whose key is 'redness'"):
        build_metrics(_config(f"{OWN}:Redness", f"{OWN}:Thirsty"))


def test_a_metric_reads_its_options_from_the_config():
    config = _config(f"{OWN}:Redness")
    config.redness_scale = 1.0
    assert build_metrics(config)[f"{OWN}:Redness"].scale == 1.0

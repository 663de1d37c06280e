import base64
import dataclasses
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from sr_jax import command_line, report
from sr_jax.checkpoints.logs import read_videos
from sr_jax.errors import UserError
from sr_jax.evaluation.report.charts import Line, forest_mark, line_chart, linear_ticks
from sr_jax.evaluation.report.clips import samples_video
from sr_jax.evaluation.report.curves import band, line_styles, loss_charts, thinned, timestep_charts
from sr_jax.evaluation.report.facts import adds_the_losses, busy_seconds, making
from sr_jax.evaluation.report.inputs import Step, Training, read_inputs
from sr_jax.evaluation.report.page import build_page
from sr_jax.evaluation.results import read_results, write_results
from sr_jax.media.video import read_video
from sr_jax.pages.clips import chosen_clips, grid


def _arguments(data, runs, workdirs, tmp_path) -> list[str]:
    teachers = tmp_path / "teachers.json"
    teachers.write_text(json.dumps({"psnr": 29.123456, "auc": 0.98}))
    steps = tmp_path / "steps.jsonl"
    steps.write_text(
        json.dumps({"name": "base", "command": "python -m sr_jax.train <x>", "began": 5, "seconds": 75}) + "\n"
    )
    arguments = ["report", f"--data={data}", f"--output={tmp_path / 'report.html'}", f"--steps={steps}"]
    arguments += [f"--run={name}={path}" for name, path in runs.items()]
    arguments += [f"--training={name}={path}" for name, path in workdirs.items()]
    return [*arguments, f"--fitted=teachers={teachers}", "--note=Depth is a stand-in & says so."]


@pytest.fixture(scope="module")
def page(data, runs, workdirs, tmp_path_factory) -> str:
    tmp_path = tmp_path_factory.mktemp("report")
    command_line.parse(report.FLAGS, _arguments(data, runs, workdirs, tmp_path))
    report.main(report.FLAGS)
    return (tmp_path / "report.html").read_text()


def test_page_is_whole_and_loads_nothing(page):
    without_videos = re.sub(r'src="data:video/mp4;base64,[^"]+"', "", page)
    # Five clips, and the samples of one training run.
    assert page.count('src="data:video/mp4;base64,') == 6
    assert not re.search(r"https?://|src=|@import|url\(", without_videos)
    body = re.sub(r"<(style|script)>.*?</\1>|<meta[^>]*>|<!doctype html>", "", without_videos, flags=re.DOTALL)
    body = re.sub(r"&(?:ldquo|rdquo|rsquo);", "'", body).replace(" autoplay loop muted playsinline", "")
    ElementTree.fromstring(body)  # every element is closed, every text escaped


def test_page_says_what_the_files_say(page, runs):
    page = " ".join(page.split())
    means = {name: json.loads((path / "metrics.json").read_text())["means"] for name, path in runs.items()}
    for values in means.values():
        assert f"{values['generated']['psnr']:.2f} dB" in page
        assert f"{values['generated']['structure_error']:.2f} %" in page
    assert "clip &lt;0&gt; &amp; more" in page
    assert "psnr 29.12, auc 0.98" in page
    assert "1 min 15 s" in page and "python -m sr_jax.train &lt;x&gt;" in page
    assert "Depth is a stand-in &amp; says so." in page
    assert "alignment.identity.weight (0.5 against 0)" in page
    assert "weights of structure and identity 0.5 and 0.5" in page
    assert "3 clips show motions that are in the training split, 2 clips motions that are not" in page
    assert "Stage two: structure loss" in page and "Base run: denoising loss" in page
    assert "paired bootstrap over the 3 people" in page
    assert page.count("The paper&#39;s Table 1 finds") == page.count("better with SemanticREPA than with") == 1


def test_bad_input_is_refused(data, runs, workdirs, tmp_path):
    ours, theirs = (f"{name}={path}" for name, path in runs.items())
    several = tmp_path / "several"
    for size in ("16x16", "16x24"):
        shutil.copytree(data, several / size)

    def read(**changes):
        given = {
            "title": "",
            "notes": [],
            "data": data,
            "runs": [ours, theirs],
            "trainings": [],
            "fitted": [],
            "steps": None,
        }
        return read_inputs(**(given | changes))

    assert read().baseline.name == "control"
    for changes, message in [
        ({"runs": [ours]}, "at least twice"),
        ({"runs": ["nothing", theirs]}, "'nothing' is not NAME=PATH"),
        ({"runs": [ours, f"x={tmp_path}"]}, r"sr_jax\.evaluate"),
        ({"trainings": [f"x={tmp_path}"]}, "no logged metrics"),
        ({"fitted": [f"x={tmp_path / 'none.json'}"]}, "no file"),
        ({"steps": tmp_path / "none.jsonl"}, "no file"),
        ({"runs": [ours, f"SemanticREPA={runs['control']}"]}, "--run names 'SemanticREPA' twice"),
        ({"fitted": ["x=a.json", "x=b.json"]}, "--fitted names 'x' twice"),
        ({"data": several}, r"several sizes: give --data that of the runs, such as .*16x16"),
    ]:
        with pytest.raises(UserError, match=message):
            read(**changes)
    for name in ("metrics.json", "metrics.npz"):
        (tmp_path / name).write_bytes((runs["control"] / name).read_bytes())
    content = json.loads((tmp_path / "metrics.json").read_text())
    judges = content["about"]["judges"]
    for change, message in [
        ({"clips": content["clips"][1:]}, "not scored on the same clips"),
        ({"metrics": content["metrics"][1:]}, "not scored alike: metrics is .*'structure_error', .* and "),
        ({"about": content["about"] | {"reference": "elsewhere"}}, "not scored alike: reference is .* and .*elsewhere"),
        (
            {"about": content["about"] | {"judges": judges | {"structure": judges["structure"] | {"seed": 2}}}},
            "not scored alike: structure is .*'seed': 1.* and .*'seed': 2",
        ),
        ({"about": content["about"] | {"judges": judges | {"face_recogniser": {}}}}, "alike: face_recogniser is"),
    ]:
        (tmp_path / "metrics.json").write_text(json.dumps(content | change))
        with pytest.raises(UserError, match=message):
            read(runs=[ours, f"x={tmp_path}"])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.13, 0.41, [0.2, 0.3, 0.4]), (-30.0, 70.0, [-20, 0, 20, 40, 60])],
)
def test_ticks_are_round(low, high, expected):
    np.testing.assert_allclose(linear_ticks(low, high), expected, atol=1e-9)


def test_chart_draws_every_point_inside_its_frame():
    lines = [
        Line("run0", [0.0, 50.0, 100.0], [0.01, 1.0, 3.0], [0.005, 0.5, 2.0], [0.02, 2.0, 4.0]),
        Line("run1", [3.0], [0.1]),
    ]
    root = ElementTree.fromstring(line_chart(lines, x_label="step", y_label="a < b", log=True))
    width, height = (float(value) for value in root.attrib["viewBox"].split()[2:])
    curves = [element for element in root if "points" in element.attrib]
    assert len(curves) == 3  # a band and two curves
    for curve in curves:
        points = np.array([pair.split(",") for pair in curve.attrib["points"].split()], float)
        assert (points >= 0).all() and (points <= [width, height]).all()
    curve = np.array([p.split(",") for p in curves[1].attrib["points"].split()], float)
    assert (np.diff(curve[:, 0]) > 0).all() and (np.diff(curve[:, 1]) < 0).all()  # y grows downwards on a screen
    assert sum(element.tag == "circle" for element in root) == 1  # the line of one point


def test_forest_mark_puts_zero_in_the_middle():
    root = ElementTree.fromstring(forest_mark(-1.0, 0.0, 2.0, reach=2.0, style="undecided"))
    zero, reach, dot = root
    assert float(zero.attrib["x1"]) == float(dot.attrib["cx"]) == 75
    assert float(reach.attrib["x1"]) == pytest.approx(75 - (75 - 6) / 2) and float(reach.attrib["x2"]) == 144


def test_band_leaves_out_what_is_not_defined():
    values = np.array([[1.0, np.nan, np.nan], [3.0, np.nan, 4.0], [2.0, np.nan, 4.0]])
    line = band("run0", values, np.arange(3), 8.0)
    np.testing.assert_allclose(line.x, [0, 0.25])
    np.testing.assert_allclose(line.y, [2, 4])
    assert line.low[0] < 2 < line.high[0] and line.low[1] == line.high[1] == 4


def test_page_of_runs_without_faces_and_with_negative_similarities(data, runs, tmp_path):
    """Scores of bad runs: no face in one, similarities around zero in the other; and no labels that say who."""
    for index, (name, folder) in enumerate(runs.items()):
        shutil.copytree(folder, tmp_path / name)
        results = read_results(folder / "metrics.json")
        similarity = np.random.default_rng(index).normal(size=results.arrays["id_score_generated"].shape) + 0.1
        results.arrays["id_score_generated"] = similarity * (np.nan if index else 1)
        for clip in results.clips:
            clip["generated"]["id_score"] = None if index else 0.1
            del clip["labels"]["identity"]
        results.means["generated"]["id_score"] = None if index else 0.1
        write_results(results, tmp_path / name / "metrics.json")
    chosen = {"title": "", "notes": [], "data": data, "trainings": [], "fitted": [], "steps": None}
    inputs = read_inputs(**chosen, runs=[f"{name}={tmp_path / name}" for name in runs])
    page = " ".join(build_page(dataclasses.replace(inputs, training_people={7})).split())
    assert "not defined on two clips" in page
    assert "bootstrap over the 3 videos of the clips" in page and "people in the held-out clips" not in page
    assert "nan" not in re.sub(r'src="data:[^"]+"', "", page)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ({"structure": 0.01, "identity": 1.0}, {"structure": 0.0, "identity": 0.0}, True),
        ({"structure": 0.01, "identity": 0.0}, {"structure": 0.0, "identity": 0.0}, True),
        ({"structure": 0.01}, {}, True),
        ({"structure": 0.0, "identity": 0.0}, {"structure": 0.01, "identity": 1.0}, False),
        ({"structure": 0.01, "identity": 1.0}, {"structure": 0.01, "identity": 0.0}, False),
        ({"structure": 0.01, "mine": 1.0}, {"structure": 0.0}, False),
        ({"mine": 0.5}, {}, False),
        ({"structure": 0.01, "identity": 1.0}, None, False),
        (None, {"structure": 0.0, "identity": 0.0}, False),
    ],
)
def test_the_paper_is_quoted_for_its_losses_against_fine_tuning_alone(data, runs, ours, theirs, expected):
    chosen = {"title": "", "notes": [], "data": data, "trainings": [], "fitted": [], "steps": None}
    inputs = read_inputs(**chosen, runs=[f"{name}={path}" for name, path in runs.items()])
    configs = [
        {"alignment": {name: {"weight": weight} for name, weight in weights.items()}} if weights is not None else {}
        for weights in (ours, theirs)
    ]
    trainings = [Training(run.name, run.style, config, []) for run, config in zip(inputs.runs, configs, strict=True)]
    assert adds_the_losses(dataclasses.replace(inputs, trainings=trainings), inputs.runs[0]) is expected


def test_a_training_of_an_earlier_version_is_shown_in_todays_terms(data, runs, workdirs, tmp_path):
    shutil.copy(workdirs["control"] / "metrics.jsonl", tmp_path)
    config = {"stage": "stage_two", "batch_size": 8, "seed": 0, "structure_weight": 0.01, "identity_weight": 1.0}
    config["frozen"] = {"structure": "w1", "identity": "w1"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    sources = {"title": "", "notes": [], "data": data, "fitted": [], "steps": None}
    inputs = read_inputs(**sources, runs=[f"{name}={path}" for name, path in runs.items()], trainings=[f"a={tmp_path}"])
    assert inputs.trainings[0].config["alignment"]["structure"] == {"weight": 0.01, "module": "w1"}
    fact = dict(making(inputs))["Training: a"]
    assert fact.text == "100 steps, batches of 8, seed 0, weights of structure and identity 0.01 and 1, 10.0 s"


def test_every_loss_in_a_log_has_its_charts():
    lines = [{"step": step, "loss": 2.0, "loss/denoising": 1.0, "loss/mine_too": 0.5} for step in (1, 2)]
    lines[-1]["loss/mine_too/t000-500"] = 0.25
    trainings = [Training("a", "", {"stage": "stage_two"}, lines)]
    titles = ["Stage two: denoising loss", "Stage two: mine too loss"]
    assert [panel.title for panel in loss_charts(trainings)] == titles
    [panel] = timestep_charts(trainings)
    assert panel.title == titles[1] and panel.names == {"run3": "a"}


def test_held_out_losses_have_charts_of_their_own():
    lines = [{"step": 1, "loss/denoising": 1.0}, {"step": 1, "heldout/loss": 3.0, "heldout/loss/denoising": 2.0}]
    trainings = [Training("a", "", {"stage": "base"}, lines)]
    assert [panel.title for panel in loss_charts(trainings)] == ["Base run: denoising loss"]
    assert [panel.title for panel in loss_charts(trainings, "held-out")] == ["Base run: held-out denoising loss"]
    assert loss_charts(trainings, "held-out, raw") == []


def test_sample_clips_are_shown_by_first_frame_and_step(workdirs, tmp_path):
    training = Training("control", "", {}, [], read_videos(workdirs["control"]))
    samples = samples_video(training)
    assert samples.columns == [("", "step 0"), ("", "step 100")]
    (tmp_path / "samples.mp4").write_bytes(base64.b64decode(samples.video.partition(",")[2]))
    frames, fps = read_video(tmp_path / "samples.mp4")
    # Two rows, of those that there are at both steps and are as large as the first, and two columns.
    expected = grid([[np.full((5, 16, 16, 3), step, np.uint8) for step in (0, 100)]] * 2)
    assert frames.shape == expected.shape and fps == 8.0
    assert np.abs(frames.astype(int) - expected).mean() < 3
    assert samples_video(dataclasses.replace(training, videos={})) is None


def test_training_runs_that_no_run_samples_from_share_colours():
    styles = line_styles([Training(str(number), "run0" if number == 2 else "", {}, []) for number in range(7)])
    assert styles == ["run3", "run2", "run0", "run1", "real", "run3", "run2"]


def test_thinned_keeps_the_mean_and_a_bounded_number_of_points():
    points = np.stack([np.arange(900), np.sin(np.arange(900))], axis=1).astype(float)
    x, y = thinned(points)
    assert len(x) == 90
    np.testing.assert_allclose([np.mean(x), np.mean(y)], points.mean(axis=0))


def test_shown_clips_are_spread_evenly():
    assert chosen_clips(48, 9) == [0, 6, 12, 18, 24, 29, 35, 41, 47]
    assert chosen_clips(3, 9) == [0, 1, 2]


def test_grid_places_panels_and_has_even_sides():
    red, blue = (np.full((2, 64, 48, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    frames = grid([[red, blue], [blue, red]])
    assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    height, width = frames.shape[1:3]
    np.testing.assert_array_equal(frames[0, height // 4, width // 4], [255, 0, 0])
    np.testing.assert_array_equal(frames[0, height // 4, 3 * width // 4], [0, 0, 255])
    np.testing.assert_array_equal(frames[0, 3 * height // 4, width // 4], [0, 0, 255])


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [([], 0), ([(5, 10)], 10), ([(0, 10), (10, 5)], 15), ([(3, 4), (0, 10), (8, 6)], 14), ([(100, 1), (0, 10)], 11)],
)
def test_steps_side_by_side_are_counted_once(spans, seconds):
    steps = [Step("name", "command", float(began), float(lasted)) for began, lasted in spans]
    assert busy_seconds(steps) == seconds

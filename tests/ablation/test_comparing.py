import json

import ml_collections
import numpy as np
import pytest

from benchmarks.ablation_results import FOLDER, short_table, write
from benchmarks.pages import published
from sr_jax.ablation import report
from sr_jax.ablation.comparing import compare_rows
from sr_jax.ablation.rows import Row
from sr_jax.errors import UserError
from sr_jax.evaluation.effects import effect_on_clips, effect_on_sets, holm
from sr_jax.evaluation.metrics.base import Description, find_metric
from sr_jax.evaluation.metrics.motion_score import motion_score
from sr_jax.evaluation.results import Results

NAMES = ("id_score", "motion_score", "psnr")
METRICS = [
    Description(name, metric.level, metric.score, metric.features_name if metric.level == "set" else "")
    for name, metric in ((name, find_metric(name)) for name in NAMES)
]
ROWS = [
    Row("base", "base model", None, paper={"id_score": 0.5087}),
    Row("control", "fine-tuned only", {}, paper={"id_score": 0.5098}),
    Row("both", "+ both <x>", {}),
    Row("control_flops_1.30", "longer", {}, steps=1.3, group="flops"),
    Row("lambda", "tried", {}, group="sweep"),
]
SHIFTS = {"base": -0.2, "control": 0.0, "both": 0.3, "control_flops_1.30": 0.1, "lambda": 0.05}
PEOPLE, SEEDS = 12, (4, 9)


def _results(shift: float, seed: int, metrics=METRICS) -> Results:
    """Scores of two clips a person; the clips' own part is the same in all rows, that of a seed is small."""
    own, noise = np.random.default_rng(0), np.random.default_rng([seed, round(100 * shift + 50)])
    values = own.normal(0.3, 0.1, 2 * PEOPLE) + shift + noise.normal(0, 0.05, 2 * PEOPLE)
    flow = own.normal(size=(2 * PEOPLE, 4, 3))
    clips = [
        {"clip_id": f"c{n:02d}", "prompt": "", "source": "", "labels": {"identity": n // 2},
         "generated": {"id_score": value, "psnr": 20.0}, "codec": {"id_score": 0.95 + 0.001 * n, "psnr": 40.0}}
        for n, value in enumerate(values)
    ]  # fmt: skip
    ours = flow * (0.5 + shift) + noise.normal(0, 0.01, flow.shape)
    arrays = {"flow_generated": ours, "flow_codec": flow * 0.98, "flow_real": flow}
    means = {
        "generated": {
            "id_score": float(values.mean()),
            "motion_score": float(motion_score(ours, flow)[0]),
            "psnr": 20.0,
        }
    }
    means["codec"] = {"id_score": 0.96, "motion_score": 0.01, "psnr": 40.0}
    return Results(metrics, clips, means, {}, arrays)


@pytest.fixture(scope="module")
def found():
    return {
        row.name: {seed: _results(SHIFTS[row.name], seed) for seed in (SEEDS[:1] if row.group == "sweep" else SEEDS)}
        for row in ROWS
    }


@pytest.fixture(scope="module")
def compared(found):
    controls = {"both": ROWS[3]}
    return json.loads(json.dumps(compare_rows(ROWS, found, controls, ("id_score", "motion_score")), allow_nan=False))


def test_effects_are_those_of_all_seeds_against_the_control(found, compared):
    rows = {row["name"]: row for row in compared["rows"]}
    assert list(rows) == [row.name for row in ROWS] and "effects" not in rows["control"]
    score, groups = METRICS[0].score, found["both"][4].groups()
    ours, theirs = (
        np.stack([item.values(score, "generated") for item in found[name].values()]) for name in ("both", "control")
    )
    expected = effect_on_clips(ours, theirs, found["both"][4].values(score, "codec"), groups)
    effect = rows["both"]["effects"]["id_score"]
    assert effect["difference"]["low"] == expected.difference.low and effect["gain"]["high"] == expected.gain.high
    assert effect["by_seed"] == list(expected.by_seed) and effect["seed_deviation"] == expected.seed_deviation
    assert effect["difference"]["smallest_visible"] == expected.difference.smallest_visible
    flow = {name: np.stack([item.arrays["flow_generated"] for item in of.values()]) for name, of in found.items()}
    codec, real = (found["both"][4].arrays[f"flow_{of}"] for of in ("codec", "real"))
    longer = effect_on_sets(flow["both"], flow["control_flops_1.30"], codec, real, motion_score, groups)
    equal = rows["both"]["effects_equal_flops"]["motion_score"]
    assert equal["difference"]["estimate"] == longer.difference.estimate
    assert rows["both"]["control_of_equal_flops"] == "control_flops_1.30" and "effects_equal_flops" not in rows["base"]
    # Only the seed that both have.
    assert rows["lambda"]["seeds"] == [4] and len(rows["lambda"]["effects"]["id_score"]["by_seed"]) == 1


def test_claims_are_of_trained_rows_of_the_table_and_corrected_together(compared):
    claims = {(claim["row"], claim["score"]): claim for claim in compared["claims"]}
    assert list(claims) == [("both", "id_score"), ("both", "motion_score")]
    assert holm({key: claim["p_value"] for key, claim in claims.items()}) == {
        key: claim["corrected_p_value"] for key, claim in claims.items()
    }
    assert claims["both", "id_score"]["verdict"] == "better" and claims["both", "motion_score"]["verdict"] == "better"


def test_what_the_correction_leaves_open_is_undecided():
    shifts = {"control": 0.0, "both": 0.3} | {f"both{n}": 0.0 for n in range(40)}
    rows = [Row(name, "", {}) for name in shifts]
    scored = {name: {4: _results(shift, 100 + n, METRICS[:1])} for n, (name, shift) in enumerate(shifts.items())}
    compared = compare_rows(rows, scored, {}, ("id_score",))
    claims = {claim["row"]: claim for claim in compared["claims"]}
    assert any(claim["p_value"] < 0.05 for claim in list(claims.values())[1:])
    assert {claim["verdict"] for name, claim in claims.items() if name != "both"} == {"undecided"}


def test_rows_that_cannot_be_compared_are_refused(found):
    with pytest.raises(UserError, match="no row of plain fine-tuning"):
        compare_rows(ROWS, {name: of for name, of in found.items() if name != "control"}, {}, ())
    with pytest.raises(UserError, match=r"config.claims names 'ssim', which config.metrics does not measure"):
        compare_rows(ROWS, found, {}, ("ssim",))
    other = _results(0, 0)
    other.clips[0]["clip_id"] = "another"
    with pytest.raises(UserError, match="the row both was not scored on the same clips"):
        compare_rows(ROWS, found | {"both": {4: other}}, {}, ())


def _whole(compared):
    about = {
        "suite": "paper",
        "config": {"clips": 24},
        "seeds": list(SEEDS),
        "versions": {"jax": "0"},
        "seconds": {"train": 1.5},
    }
    about["hardware"] = {"device": "cpu", "devices": 1, "machine": "x86_64"}
    apart = {"between": 0.9, "within": 0.2, "apart": 0.7, "auc": None, "identity_loss": 0.1, "clips": 24}
    rows = [row | {"flops": 1.3 * row["steps"]} for row in compared["rows"]]
    return about | compared | {"rows": rows, "identity": {"with depth": apart, "without depth": apart}}


def test_the_page_shows_values_claims_and_the_paper(compared, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_panels", lambda tasks: {"losses": [], "by_timestep": []})
    monkeypatch.setattr(report, "_clips", lambda tasks, config: {"columns": [], "clips": [], "count": 24})
    report.write_page(tmp_path / "report.html", _whole(compared), [], ml_collections.ConfigDict())
    page = " ".join((tmp_path / "report.html").read_text().split())
    rows = {row["name"]: row for row in compared["rows"]}
    assert f"{rows['both']['means']['id_score']:.3f}" in page and "0.5098" in page and "0.0882" in page
    assert "+ both &lt;x&gt; is better on ID score and better on motion score" in page
    assert "After Holm&#39;s correction over 2 claims" in page
    difference = rows["both"]["effects"]["id_score"]["difference"]
    assert f"+{difference['estimate']:.3f}" in page and "of what there is to gain:" in page
    # The difference in PSNR is nothing, in every clip.
    assert "would have been seen with 80% probability" in page and "tried" in page


def test_results_md_is_written_from_files_and_not_without(compared, tmp_path):
    with pytest.raises(UserError, match="no results"):
        write(tmp_path, tmp_path / "RESULTS.md")
    assert not (tmp_path / "RESULTS.md").exists()
    (tmp_path / "paper.json").write_text(json.dumps(_whole(compared)))
    reading = {"share": 0.5, "structure_explained": 0.812, "structure_loss": 0.1, "identity_loss": 0.05,
               "identity_cosine": 0.5, "between": 0.9, "within": 0.5, "apart": 0.4, "auc": 0.93}  # fmt: skip
    gradient = {"low": 0.0, "high": 0.2, "weights": {"denoising": 1.0, "structure": 0.01},
                "norms": {"denoising": 2.0, "structure": 3.0}, "cosines": {"denoising, structure": -0.25}}  # fmt: skip
    diagnosis = {
        "config": {"init": {"transformer": "w0"}},
        "clips": 24,
        "batches": 2,
        "readings": [reading],
        "gradients": [gradient],
    }
    (tmp_path / "diagnosis.json").write_text(json.dumps(diagnosis))
    write(tmp_path, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    effect = next(row for row in compared["rows"] if row["name"] == "both")["effects"]["id_score"]
    assert f"+{effect['difference']['estimate']:.3f}" in text and "0.5098" in text
    assert "| 50% | 81.2% | 0.930 |" in text and "-0.25" in text.replace("\N{MINUS SIGN}", "-")
    # The structure loss counts 0.01 times: 0.03 against 2.
    assert "0.030" in text
    assert "paper.json" in text and "better" in text


def test_the_short_table_has_the_scores_of_the_claims_and_a_star_where_one_holds(compared):
    head, _, *rows = short_table(_whole(compared)).splitlines()
    assert head == "|  | ID score (higher is better) | Motion score (lower is better) |"
    cells = {row.split(" | ")[0].removeprefix("| "): row for row in rows}
    both = next(row for row in compared["rows"] if row["name"] == "both")
    assert f"| {both['means']['id_score']:.3f} * |" in cells[both["label"]] and cells[both["label"]].count("*") == 2
    control = next(row for row in compared["rows"] if row["name"] == "control")
    assert "*" not in cells[control["label"]] and rows[-1].startswith("| real clips through the codec |")


def test_the_pages_are_those_of_the_committed_results(tmp_path):
    root = FOLDER.parents[2]
    write(FOLDER, tmp_path / "RESULTS.md")
    assert (root / "RESULTS.md").read_text() == (tmp_path / "RESULTS.md").read_text()
    paper = json.loads((FOLDER / "paper.json").read_text())
    assert published((root / "README.md").read_text(), "paper_suite") == short_table(paper)

"""The page of a suite: its tables beside the paper's, intervals, curves, and clips side by side."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_collections

from sr_jax.ablation.comparing import interval_of
from sr_jax.ablation.rows import CONTROL
from sr_jax.ablation.work import Task
from sr_jax.checkpoints.logs import read_metrics
from sr_jax.checkpoints.upgrade import upgraded
from sr_jax.data.clips import CLIPS_FOLDER, read_index
from sr_jax.evaluation.bootstrap import LEVEL, POWER
from sr_jax.evaluation.metrics.base import Score
from sr_jax.evaluation.report import words
from sr_jax.evaluation.report.charts import forest_mark
from sr_jax.evaluation.report.curves import Panel, loss_charts, timestep_charts
from sr_jax.evaluation.report.inputs import Training
from sr_jax.media.video import read_video
from sr_jax.outputs import write_text
from sr_jax.pages.clips import chosen_clips, data_uri, grid
from sr_jax.pages.rendering import render

_SHOWN_CLIPS = 6
TITLES = {
    "paper": "The paper's ablations at a small scale",
    "objectives": "Alignment objectives from one start",
}


def write_page(
    path: Path, results: Mapping[str, Any], tasks: Sequence[Task], config: ml_collections.ConfigDict
) -> None:
    """Writes the page.

    Args:
        path: File to write.
        results: Of `results.json`.
        tasks: Of the first seed: their curves and clips are shown.
        config: Of the suite.
    """
    scores = {item["key"]: Score(**item) for item in results["metrics"]}
    table = [row for row in results["rows"] if row["group"] == "table"]
    page = render(
        "ablation.html.j2",
        title=TITLES[results["suite"]],
        results=results,
        values=values_table(table, scores, results["real"]),
        comparisons=[
            comparison_table(results, scores[key]) for key in dict.fromkeys(c["score"] for c in results["claims"])
        ],
        others=[
            comparison_table(results, score)
            for key, score in scores.items()
            if score.direction and key not in {claim["score"] for claim in results["claims"]}
        ],
        sweeps=sweep_table(results, scores),
        headline=headline(results, scores),
        identity=results.get("identity"),
        panels=_panels(tasks),
        clips=_clips(tasks, config),
        level=f"{LEVEL:.0%}",
        power=f"{POWER:.0%}",
        settings=json.dumps(results["config"], indent=1),
    )
    write_text(path, page)
    print(f"wrote {path} ({path.stat().st_size / 2**20:.1f} MiB): open it in a browser")


def headline(results: Mapping[str, Any], scores: Mapping[str, Score]) -> str:
    """One sentence on what holds after the correction, row by row."""
    labels = {row["name"]: row["label"] for row in results["rows"]}
    held: dict[str, list[str]] = {}
    for claim in results["claims"]:
        if claim["verdict"] in (words.BETTER, words.WORSE):
            text = f"{claim['verdict']} on {words.inline(scores[claim['score']])}"
            held.setdefault(labels[claim["row"]], []).append(text)
    count = len(results["claims"])
    if not held:
        return f"None of {count} claims holds after Holm's correction over all of them."
    parts = "; ".join(f"{label} is {words.listed(texts)}" for label, texts in held.items())
    return f"After Holm's correction over {count} claims, against fine-tuning alone: {parts}."


def values_table(
    rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Score], real: Mapping[str, float | None]
) -> dict[str, Any]:
    """Mean of every score in every row, with the paper's where it has one, and of the real clips."""
    papers = [key for key in scores if any(key in row["paper"] for row in rows)]
    body = [
        {
            "label": row["label"],
            "numbers": [words.number(score, row["means"][key]) for key, score in scores.items()],
            "paper": [f"{row['paper'][key]:.4f}" if key in row["paper"] else "\N{EN DASH}" for key in papers],
        }
        for row in rows
    ]
    numbers = [words.number(score, real[key]) for key, score in scores.items()]
    body.append({"label": "real clips through the codec", "numbers": numbers, "paper": ["\N{EN DASH}"] * len(papers)})
    heads = [{"label": score.label, "direction": words.DIRECTIONS[score.direction]} for score in scores.values()]
    return {"heads": heads, "papers": [scores[key].label for key in papers], "rows": body}


def comparison_table(results: Mapping[str, Any], score: Score) -> dict[str, Any]:
    """Every row of the table against the control in one score, at equal steps and at equal FLOPs."""
    claims = {claim["row"]: claim for claim in results["claims"] if claim["score"] == score.key}
    rows = []
    for row in results["rows"]:
        if row["group"] != "table" or row["name"] == CONTROL:
            continue
        effect = row["effects"][score.key]
        equal = row.get("effects_equal_flops", {}).get(score.key) if "effects_equal_flops" in row else None
        rows.append(
            {
                "label": row["label"],
                "flops": f"{row['flops']:.2f}" if row["steps"] else "\N{EN DASH}",
                "effect": effect and _cell(effect, score, claims.get(row["name"])),
                "equal_flops": equal and _cell(equal, score, None),
            }
        )
    return {
        "label": score.label,
        "direction": words.DIRECTIONS[score.direction],
        "meaning": score.meaning,
        "rows": rows,
    }


def sweep_table(results: Mapping[str, Any], scores: Mapping[str, Score]) -> dict[str, Any] | None:
    """What was tried on one seed, in the scores of the claims; None when nothing was."""
    rows = [row for row in results["rows"] if row["group"] == "sweep"]
    keys = list(dict.fromkeys(claim["score"] for claim in results["claims"]))
    if not rows or not keys:
        return None
    body = [
        {
            "label": row["label"],
            "cells": [e and _cell(e, scores[k], None) for k, e in ((k, row["effects"][k]) for k in keys)],
        }
        for row in rows
    ]
    return {"heads": [scores[key].label for key in keys], "rows": body}


def _cell(effect: Mapping[str, Any], score: Score, claim: Mapping[str, Any] | None) -> dict[str, Any]:
    """A difference as a table shows it."""
    interval = interval_of(effect["difference"])
    kind = claim["verdict"] if claim else words.verdict(score, interval)
    estimate, ends = words.difference(score, interval)
    reach = max(abs(interval.low), abs(interval.high)) * 1.05
    deviation, gain = effect["seed_deviation"], effect["gain"]
    return {
        "estimate": estimate,
        "ends": ends,
        "deviation": None if deviation is None else f"{deviation:.2g}",
        "gain": None
        if gain is None
        else "{} ({} to {})".format(*(words.percent(gain[key]) for key in ("estimate", "low", "high"))),
        "p_value": f"{claim['corrected_p_value']:.3f}" if claim else None,
        "mark": forest_mark(interval.low, interval.estimate, interval.high, reach=reach, style=kind),
        "kind": kind,
        "chip": words.CHIPS[kind],
        "visible": words.visible(score, interval) if kind == words.UNDECIDED else "",
    }


def _panels(tasks: Sequence[Task]) -> dict[str, list[Panel]]:
    """Losses of the trained rows of the table, over steps and by noise level."""
    trained = [task for task in tasks if task.row.group == "table" and task.steps]
    trainings = [
        Training(
            task.row.label, f"run{number}", upgraded(json.loads((task.workdir / "config.json").read_text())), lines
        )
        for number, task in enumerate(trained)
        if (lines := read_metrics(task.workdir))
    ]
    return {"losses": loss_charts(trainings), "by_timestep": timestep_charts(trainings)}


def _clips(tasks: Sequence[Task], config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Some clips of every row of the table beside the real ones, in the same noise."""
    shown = [task for task in tasks if task.row.group == "table"]
    reference = Path(config.data.dir) / CLIPS_FOLDER / config.data.split
    ids = sorted(path.stem for path in shown[0].samples.glob("*.mp4"))
    chosen = [ids[place] for place in chosen_clips(len(ids), _SHOWN_CLIPS)]
    index = read_index(reference)

    def video(clip_id: str) -> str:
        real, fps = read_video(reference / f"{clip_id}.mp4")
        clips = [real] + [read_video(task.samples / f"{clip_id}.mp4")[0] for task in shown]
        return data_uri(grid([clips]), fps)

    with ThreadPoolExecutor() as pool:
        videos = list(pool.map(video, chosen))
    columns = [("", "Real"), *((f"run{max(0, number)}", task.row.label) for number, task in enumerate(shown))]
    clips = [{"video": item, "prompt": index[name]["prompt"]} for name, item in zip(chosen, videos, strict=True)]
    return {"columns": columns, "clips": clips, "count": len(ids)}

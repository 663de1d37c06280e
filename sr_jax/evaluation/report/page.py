"""Puts the report together."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sr_jax.errors import UserError
from sr_jax.evaluation.bootstrap import LEVEL, MIN_GROUPS, RESAMPLES, Interval
from sr_jax.evaluation.metrics.base import Score
from sr_jax.evaluation.report import facts, words
from sr_jax.evaluation.report.charts import forest_mark
from sr_jax.evaluation.report.clips import clip_video, samples_video
from sr_jax.evaluation.report.comparison import Comparison, compare
from sr_jax.evaluation.report.curves import MEASURED, Panel, loss_charts, score_over_time, timestep_charts
from sr_jax.evaluation.report.inputs import Inputs, read_inputs
from sr_jax.outputs import replacing, require_writable
from sr_jax.pages.clips import chosen_clips
from sr_jax.pages.rendering import render

_SHOWN_CLIPS = 9
_HELD_OUT_LABEL = "held_out_motion"

Comparisons = dict[Score, Comparison]


def write_report(output: Path, **sources: Any) -> None:
    """Writes the report, whole or not at all, and says where.

    Args:
        output: HTML file to write.
        **sources: As `read_inputs` takes them.

    Raises:
        UserError: When it cannot be written, an input is missing, or the runs do not belong together.
    """
    if output.suffix != ".html" or output.is_dir():
        raise UserError(f"--output {output} must be a file that ends in .html")
    require_writable(output.parent)
    page = build_page(read_inputs(**sources))
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"wrote {output} ({output.stat().st_size / 2**20:.1f} MiB): open it in a browser")


def build_page(inputs: Inputs) -> str:
    """The whole report as one HTML document that loads nothing from anywhere."""
    compared = {run.name: compare(run.results, inputs.baseline.results) for run in inputs.runs[:-1]}
    group_name, baseline = inputs.runs[0].results.group_name, inputs.baseline.name
    by_frame = [score for score in inputs.runs[0].results.scores if score.by_frame]
    # A section's anchor is also the name of its template.
    contents = {
        "result": ("What came out", _result(inputs, compared)),
        "clips": ("Real and generated clips", _clips(inputs, by_frame)),
        "time": (_over_time_title(by_frame), _over_time(inputs, by_frame)),
        "motions": ("Motions that training saw, and motions that it never saw", _by_motion(inputs)),
        "training": ("Training", _training(inputs)),
        "method": ("How the scores are measured", facts.measuring(inputs)),
        "data": ("Data, teachers and judges", facts.making(inputs)),
        "commands": ("What was run", facts.commands(inputs)),
    }
    return render(
        "report.html.j2",
        inputs=inputs,
        sections=[
            {"anchor": anchor, "title": title, "content": content}
            for anchor, (title, content) in contents.items()
            if content
        ],
        headlines=[words.headline(name, baseline, _differences(items), group_name) for name, items in compared.items()],
        what_differs=facts.what_differs(inputs),
        group_name=group_name,
        level=f"{LEVEL:.0%}",
    )


def _result(inputs: Inputs, compared: Mapping[str, Comparisons]) -> dict[str, Any]:
    results, baseline = inputs.runs[0].results, inputs.baseline.name
    return {
        "rows": [_row(inputs, compared, score) for score in results.scores],
        "clips": len(results.clips),
        "groups": len(set(results.groups().tolist())),
        "resamples": RESAMPLES,
        "min_groups": MIN_GROUPS,
        "sentences": [
            words.sentences(
                name,
                baseline,
                {score: (item.value, item.baseline) for score, item in items.items()},
                _differences(items),
                results.group_name,
            )
            for name, items in compared.items()
        ],
        "against_the_paper": [
            words.against_the_paper(run.name, _differences(compared[run.name]))
            for run in inputs.runs[:-1]
            if facts.adds_the_losses(inputs, run)
        ],
    }


def _row(inputs: Inputs, compared: Mapping[str, Comparisons], score: Score) -> dict[str, Any]:
    values = [inputs.runs[0].results.means["codec"][score.key]]
    values += [run.results.means["generated"][score.key] for run in inputs.runs]
    return {
        "label": score.label,
        "direction": words.DIRECTIONS[score.direction],
        "numbers": [words.number(score, value) for value in values],
        "differences": [_difference(compared[run.name].get(score)) for run in inputs.runs[:-1]],
    }


def _difference(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    score, interval = comparison.score, comparison.difference
    kind = words.verdict(score, interval)
    reach = max(abs(interval.low), abs(interval.high)) * 1.05
    estimate, ends = words.difference(score, interval)
    return {
        "estimate": estimate,
        "ends": ends,
        "clips": interval.clips,
        "mark": forest_mark(interval.low, interval.estimate, interval.high, reach=reach, style=kind),
        "kind": kind,
        "chip": words.CHIPS[kind],
        "visible": words.visible(score, interval) if kind == words.UNDECIDED else "",
    }


def _clips(inputs: Inputs, by_frame: list[Score]) -> dict[str, Any]:
    clips = inputs.runs[0].results.clips
    places = chosen_clips(len(clips), _SHOWN_CLIPS)
    with ThreadPoolExecutor() as pool:
        videos = list(pool.map(lambda place: clip_video(inputs, clips[place]["clip_id"]), places))
    return {
        "columns": [("", "Real"), *((run.style, run.name) for run in inputs.runs)],
        "clips": [
            {
                "video": video,
                "prompt": clips[place]["prompt"],
                "held_out": clips[place]["labels"].get(_HELD_OUT_LABEL),
                "scores": _clip_scores(inputs, place, by_frame),
            }
            for place, video in zip(places, videos, strict=True)
        ],
        "count": len(clips),
        "with_depth": inputs.with_depth,
        "same_noise": facts.same_noise(inputs),
        "people": facts.people(inputs),
    }


def _clip_scores(inputs: Inputs, place: int, scores: list[Score]) -> list[str]:
    """One line for each score that the clip has everywhere."""
    lines = []
    for score in scores:
        values = [("real", inputs.runs[0].results.clips[place]["codec"][score.key])]
        values += [(run.name, run.results.clips[place]["generated"][score.key]) for run in inputs.runs]
        if all(value is not None for _, value in values):
            lines.append(f"{score.label}: {', '.join(f'{name} {words.number(score, v)}' for name, v in values)}")
    return lines


def _over_time_title(scores: list[Score]) -> str:
    labels = words.listed([words.inline(score) for score in scores])
    return f"{labels[:1].upper()}{labels[1:]} over the time of a clip"


def _over_time(inputs: Inputs, scores: list[Score]) -> list[Panel]:
    return [panel for panel in (score_over_time(inputs, score) for score in scores) if panel]


def _by_motion(inputs: Inputs) -> dict[str, Any] | None:
    """The comparison on known and on unseen motions apart; None when the clips do not say which they are."""
    results = inputs.runs[0].results
    labels = [clip["labels"].get(_HELD_OUT_LABEL) for clip in results.clips]
    if None in labels:
        return None
    unseen = np.array(labels, bool)
    rows = []
    for run in inputs.runs[:-1]:
        parts = {"known": ~unseen, "unseen": unseen}
        compared = {name: compare(run.results, inputs.baseline.results, part) for name, part in parts.items()}
        for score in (score for score in results.scores if score.direction):
            rows += [_motion_row(name, items[score]) for name, items in compared.items() if score in items]
    return {"known": int((~unseen).sum()), "unseen": int(unseen.sum()), "rows": rows}


def _motion_row(motions: str, item: Comparison) -> dict[str, Any]:
    value, baseline = (words.number(item.score, value) for value in (item.value, item.baseline))
    return {
        "label": item.score.label,
        "motions": motions,
        "value": value,
        "baseline": baseline,
        "difference": _difference(item),
    }


def _training(inputs: Inputs) -> dict[str, Any] | None:
    trainings = inputs.trainings
    losses = loss_charts(trainings)
    held_out = [panel for measured in MEASURED if measured for panel in loss_charts(trainings, measured)]
    panels = {"losses": losses, "held_out": held_out, "by_timestep": timestep_charts(trainings)}
    return panels | {"samples": list(filter(None, map(samples_video, trainings)))} if losses else None


def _differences(compared: Comparisons) -> dict[Score, Interval]:
    return {score: item.difference for score, item in compared.items()}

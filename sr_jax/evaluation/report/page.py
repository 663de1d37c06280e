"""Puts the report together."""

import html
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sr_jax.evaluation.bootstrap import LEVEL, MIN_GROUPS, RESAMPLES
from sr_jax.evaluation.report import facts, words
from sr_jax.evaluation.report.charts import forest_mark
from sr_jax.evaluation.report.clips import clip_video
from sr_jax.evaluation.report.comparison import Comparison, compare
from sr_jax.evaluation.report.curves import loss_charts, score_over_time, timestep_charts
from sr_jax.evaluation.report.inputs import Inputs
from sr_jax.evaluation.scores import ID_SCORE, SCORES, STRUCTURE_ERROR, Score
from sr_jax.pages.clips import chosen_clips
from sr_jax.pages.style import CSS, SCRIPT

_SHOWN_CLIPS = 9
_HELD_OUT_LABEL = "held_out_motion"

Comparisons = dict[Score, Comparison]


def build_page(inputs: Inputs) -> str:
    """The whole report as one HTML document that loads nothing from anywhere."""
    compared = {run.name: compare(run.results, inputs.baseline.results) for run in inputs.runs[:-1]}
    sections = [
        ("result", "What came out", _result(inputs, compared)),
        ("clips", "Real and generated clips", _clips(inputs)),
        ("time", "Identity and structure over the time of a clip", _over_time(inputs)),
        ("motions", "Motions that training saw, and motions that it never saw", _by_motion(inputs)),
        ("training", "Training", _training(inputs)),
        ("method", "How the scores are measured", facts.measuring(inputs)),
        ("data", "Data, teachers and judges", facts.making(inputs)),
        ("commands", "What was run", facts.commands(inputs)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{anchor}">{html.escape(title)}</a>' for anchor, title, _ in sections)
    body = "".join(
        f'<section id="{anchor}"><h2>{html.escape(title)}</h2>{content}</section>'
        for anchor, title, content in sections
    )
    title = html.escape(inputs.title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{CSS}</style></head><body><main><header><h1>{title}</h1>{_introduction(inputs, compared)}"
        f"<nav>{links}</nav></header>{body}{facts.footer(inputs)}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _introduction(inputs: Inputs, compared: dict[str, Comparisons]) -> str:
    baseline = inputs.baseline.name
    group_name = inputs.runs[0].results.group_name
    headlines = [words.headline(name, baseline, _differences(scores), group_name) for name, scores in compared.items()]
    notes = "".join(f"<p><strong>Note.</strong> {html.escape(note)}</p>" for note in inputs.notes)
    return (
        f'<p class="lead">{html.escape(" ".join(headlines))}</p>{notes}'
        "<p>SemanticREPA (arXiv 2605.10523) fine-tunes a diffusion transformer that turns a picture of a person and a "
        "caption into a video. While it trains, two frozen networks look at the clean video that it predicts: one "
        "reads depth, which says where the body is, and one reads the face, which says who it is. Their disagreement "
        "with the true depth and the true face is a second loss, with the weights structure_weight and "
        "identity_weight; with both 0 it is plain fine-tuning. At inference neither network is needed. "
        f"{html.escape(facts.what_differs(inputs))}</p>"
    )


def _result(inputs: Inputs, compared: dict[str, Comparisons]) -> str:
    results = inputs.runs[0].results
    clips, groups, group_name = len(results.clips), len(set(results.groups().tolist())), results.group_name
    parts = [
        f'<div class="scroll"><table><thead>{_table_head(inputs)}</thead><tbody>'
        f"{''.join(_table_row(inputs, compared, score) for score in SCORES)}</tbody></table></div>",
        f'<p class="note">Means over {clips} held-out clips, or over those of them where the score is defined (n). '
        f"Intervals: {LEVEL:.0%} paired bootstrap over the {groups} {group_name} of the clips, {RESAMPLES} resamples; "
        "every score by itself, without correction for looking at several. An interval that leaves out zero says that "
        "there is a difference, not that it is a large one; "
        f"that of fewer than {MIN_GROUPS} {group_name} says nothing. "
        "&ldquo;Codec only&rdquo; is the real clip encoded and decoded: no generator can be expected to do better.</p>",
    ]
    for name, scores in compared.items():
        values = {score: (item.value, item.baseline) for score, item in scores.items()}
        lines = words.sentences(name, inputs.baseline.name, values, _differences(scores), group_name)
        parts.append(f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>")
    for run in inputs.runs[:-1]:
        if facts.adds_the_losses(inputs, run):
            parts.append(f"<p>{html.escape(words.against_the_paper(run.name, _differences(compared[run.name])))}</p>")
    return "".join(parts)


def _table_head(inputs: Inputs) -> str:
    names = "".join(f'<th class="number">{html.escape(run.name)}</th>' for run in inputs.runs)
    differences = "".join(
        f'<th colspan="3">{html.escape(run.name)} minus {html.escape(inputs.baseline.name)}'
        f"<small>with {LEVEL:.0%} interval; dashed line: no difference</small></th>"
        for run in inputs.runs[:-1]
    )
    return f'<tr><th>Score</th><th class="number">Codec only</th>{names}{differences}</tr>'


def _table_row(inputs: Inputs, compared: dict[str, Comparisons], score: Score) -> str:
    arrow = {1: "higher is better", -1: "lower is better", 0: "describes only"}[score.direction]
    values = [inputs.runs[0].results.means["codec"][score.key]]
    values += [run.results.means["generated"][score.key] for run in inputs.runs]
    cells = "".join(f'<td class="number">{words.number(score, v)}</td>' for v in values)
    differences = "".join(_difference_cells(score, compared[run.name].get(score)) for run in inputs.runs[:-1])
    return f"<tr><td>{html.escape(score.label)}<small>{arrow}</small></td>{cells}{differences}</tr>"


def _difference_cells(score: Score, comparison: Comparison | None) -> str:
    if comparison is None:
        return '<td colspan="3"><span class="chip none">not defined on two clips</span></td>'
    interval = comparison.difference
    kind = words.verdict(score, interval)
    reach = max(abs(interval.low), abs(interval.high)) * 1.05
    mark = forest_mark(interval.low, interval.estimate, interval.high, reach=reach, style=kind)
    estimate, ends = words.difference(score, interval)
    return (
        f'<td class="number">{estimate}<small>{ends}, n = {interval.clips}</small></td><td>{mark}</td>'
        f'<td><span class="chip {kind}">{words.CHIPS[kind]}</span></td>'
    )


def _clips(inputs: Inputs) -> str:
    clips = inputs.runs[0].results.clips
    places = chosen_clips(len(clips), _SHOWN_CLIPS)
    heads = "<span>Real</span>" + "".join(
        f'<span class="{run.style}">{html.escape(run.name)}</span>' for run in inputs.runs
    )
    with ThreadPoolExecutor() as pool:
        videos = list(pool.map(lambda place: clip_video(inputs, clips[place]["clip_id"]), places))
    figures = "".join(
        f'<figure class="clip"><div class="screen"><div class="heads">{heads}</div>'
        f'<video src="{video}" autoplay loop muted playsinline></video></div>{_caption(inputs, place)}</figure>'
        for place, video in zip(places, videos, strict=True)
    )
    return (
        f"<p>Above: the real clip, and what each run made of its first frame and caption{facts.same_noise(inputs)}. "
        "Below: the depth that the dataset holds for the real clip, and the depth that the judge reads in each "
        "generated clip (bright is near).</p>"
        '<p><button id="play" type="button">Pause all clips</button>'
        '<button id="speed" type="button">Slow motion</button></p>'
        f'<div class="clips">{figures}</div>'
        f'<p class="note">{facts.people(inputs)} {len(places)} of {len(clips)} held-out clips, evenly spaced in the '
        "list sorted by name: nobody chose them by eye. Enlarged smoothly.</p>"
    )


def _caption(inputs: Inputs, place: int) -> str:
    clip = inputs.runs[0].results.clips[place]
    held_out = clip["labels"].get(_HELD_OUT_LABEL)
    lines = [f"&ldquo;{html.escape(clip['prompt'])}&rdquo;"]
    if held_out is not None:
        lines.append(
            "<small>A motion that training never saw.</small>" if held_out else "<small>A known motion.</small>"
        )
    for score in (ID_SCORE, STRUCTURE_ERROR):
        values = [("real", clip["codec"][score.key])]
        values += [(run.name, run.results.clips[place]["generated"][score.key]) for run in inputs.runs]
        shown = [f"{html.escape(name)} {words.number(score, value)}" for name, value in values if value is not None]
        if len(shown) == len(values):
            lines.append(f"<small>{score.label}: {', '.join(shown)}</small>")
    return f"<figcaption>{''.join(lines)}</figcaption>"


def _over_time(inputs: Inputs) -> str:
    charts = "".join(score_over_time(inputs, score) for score in (ID_SCORE, STRUCTURE_ERROR))
    return (
        f'<div class="charts">{charts}</div><p class="note">Mean over clips in every frame; band: {LEVEL:.0%} '
        f"bootstrap interval over {inputs.runs[0].results.group_name}. Dashed: the real clips through the codec. The "
        "first frame is given to the model.</p>"
    )


def _by_motion(inputs: Inputs) -> str:
    """The comparison on known and on unseen motions apart; empty when the clips do not say which they are."""
    labels = [clip["labels"].get(_HELD_OUT_LABEL) for clip in inputs.runs[0].results.clips]
    if None in labels:
        return ""
    unseen = np.array(labels, bool)
    baseline = inputs.baseline.results
    rows = []
    for run in inputs.runs[:-1]:
        known, new = (compare(run.results, baseline, chosen) for chosen in (~unseen, unseen))
        for score in (score for score in SCORES if score.direction):
            rows += [_motion_row(score, "known", known.get(score)), _motion_row(score, "unseen", new.get(score))]
    head = (
        f'<tr><th>Score</th><th>Motions</th><th class="number">Run</th>'
        f'<th class="number">{html.escape(inputs.baseline.name)}</th><th colspan="3">Difference</th></tr>'
    )
    return (
        f"<p>{int((~unseen).sum())} clips show motions that are in the training split, {int(unseen.sum())} clips "
        "motions that are not.</p>"
        f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _motion_row(score: Score, name: str, item: Comparison | None) -> str:
    if item is None:
        return ""
    values = "".join(f'<td class="number">{words.number(score, value)}</td>' for value in (item.value, item.baseline))
    return f"<tr><td>{score.label}</td><td>{name}</td>{values}{_difference_cells(score, item)}</tr>"


def _training(inputs: Inputs) -> str:
    losses, by_timestep = loss_charts(inputs.trainings), timestep_charts(inputs.trainings)
    if not losses:
        return ""
    return (
        f'<div class="charts">{"".join(losses)}</div>'
        '<p class="note">Losses as logged, neighbouring points averaged. The denoising loss is the paper&rsquo;s L_t; '
        "the structure and identity losses are L_S and L_ID before their weights, and a run without them does not log "
        "them. MSE: mean squared error; L1: mean absolute error.</p>"
        f'<h3>By noise level</h3><div class="charts">{"".join(by_timestep)}</div>'
        '<p class="note">Mean over the last third of the training. At a high timestep the predicted clean clip is '
        "little more than a guess.</p>"
    )


def _differences(scores: Comparisons) -> dict:
    return {score: item.difference for score, item in scores.items()}

"""The report's charts: training losses, losses by timestep, and scores over the time of a clip."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup

from sr_jax.evaluation.bootstrap import LEVEL, resample_counts
from sr_jax.evaluation.metrics.base import Score
from sr_jax.evaluation.report.charts import Line, line_chart
from sr_jax.evaluation.report.inputs import Inputs, Training

_STAGES = {"base": "Base run", "stage_one": "Stage one", "stage_two": "Stage two"}
_LOSS = re.compile(r"loss/(\w+)$")
_BIN = re.compile(r"loss/(\w+)/t(\d+)-(\d+)$")
_MOST_POINTS = 90
MEASURED = {"": "", "held-out": "heldout/", "held-out, raw": "heldout_raw/"}
"""On what clips, and with which weights, a loss is measured, and how its key in the log begins."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """A chart.

    Attributes:
        title: Above it.
        names: Of its lines, by their CSS classes.
        chart: An `<svg>` element.
    """

    title: str
    names: Mapping[str, str]
    chart: Markup


def loss_charts(trainings: Sequence[Training], measured: str = "") -> list[Panel]:
    """One chart for each stage and loss, with a line for each training run that has it.

    Args:
        trainings: The training runs.
        measured: On what, one of `MEASURED`.
    """
    charts = []
    for stage, loss in itertools.product(_STAGES, _losses(trainings)):
        key = f"{MEASURED[measured]}loss/{loss}"
        having = [run for run in trainings if _stage(run) == stage and any(key in line for line in run.lines)]
        points = [[(line["step"], line[key]) for line in run.lines if key in line] for run in having]
        lines = [
            Line(style, *thinned(np.array(values, float)))
            for style, values in zip(line_styles(having), points, strict=True)
        ]
        if lines:
            charts.append(_loss_panel(stage, f"{measured} {loss}".strip(), having, lines, "training step"))
    return charts


def timestep_charts(trainings: Sequence[Training]) -> list[Panel]:
    """Losses against the noise level: how much of a guess the predicted clean latent is."""
    charts = []
    for stage, loss in itertools.product(_STAGES, _losses(trainings)):
        having = [run for run in trainings if _stage(run) == stage and _by_bin(run, loss)]
        lines = [
            Line(style, *zip(*sorted(_by_bin(run, loss).items()), strict=True), dots=True)
            for run, style in zip(having, line_styles(having), strict=True)
        ]
        if lines:
            charts.append(_loss_panel(stage, loss, having, lines, "timestep (1000 is noise)"))
    return charts


def score_over_time(inputs: Inputs, score: Score) -> Panel | None:
    """A score frame by frame, mean over clips with a 95% bootstrap band; `score` has `by_frame`.

    None when the score is defined in no frame, such as the ID score where no face is found.
    """
    real = inputs.runs[0].results
    series = {"real": real.arrays[f"{score.key}_codec"]}
    series |= {run.style: run.results.arrays[f"{score.key}_generated"] for run in inputs.runs}
    series = {style: values for style, values in series.items() if np.isfinite(values).any()}
    names = {"real": "real clip through the codec"} | {run.style: run.name for run in inputs.runs}
    lines = [band(style, values, real.groups(), real.about["fps"]) for style, values in series.items()]
    shown = {style: names[style] for style in series}
    return _panel(f"{score.label} over time", shown, lines, "time in the clip (s)", score.by_frame) if lines else None


def band(style: str, values: Float[np.ndarray, "n f"], groups: Int[np.ndarray, " n"], fps: float) -> Line:
    """Mean over clips in each frame with a bootstrap interval; NaN, and frames where all is NaN, are left out.

    Args:
        style: Of the line.
        values: A score of N clips, frame by frame, defined somewhere.
        groups: Number of the group of each clip.
        fps: Frames a second, for the line's x in seconds.
    """
    [kept] = np.isfinite(values).any(axis=0).nonzero()
    defined = np.isfinite(values[:, kept])
    filled = np.where(defined, values[:, kept], 0)
    counts = resample_counts(groups, resamples=400)
    # A resample may hold no defined value of a frame: it then says nothing about it.
    with np.errstate(invalid="ignore"):
        means = (counts @ filled) / (counts @ defined)
    low, high = np.nanquantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    mean = filled.sum(axis=0) / defined.sum(axis=0)
    return Line(style, (kept / fps).tolist(), mean.tolist(), low.tolist(), high.tolist())


def thinned(points: Float[np.ndarray, "n 2"]) -> tuple[list[float], list[float]]:
    """Means of neighbouring points, so that a long run stays readable."""
    groups = np.array_split(points, min(len(points), _MOST_POINTS))
    x, y = np.array([group.mean(axis=0) for group in groups]).T
    return x.tolist(), y.tolist()


def line_styles(trainings: Sequence[Training]) -> list[str]:
    """A colour for each training run: that of the run it belongs to, or in turn those that no run of the chart has."""
    taken = {training.style for training in trainings}
    free = itertools.cycle(style for style in ("run3", "run2", "run1", "run0", "real") if style not in taken)
    return [training.style or next(free) for training in trainings]


def _by_bin(training: Training, loss: str) -> dict[float, float]:
    """Mean of a loss over the last third of the training, by the middle of its timestep bin."""
    values: dict[float, list[float]] = {}
    for line in training.lines[-max(1, len(training.lines) // 3) :]:
        for key, value in line.items():
            match = _BIN.match(key)
            if match and match[1] == loss:
                values.setdefault((int(match[2]) + int(match[3])) / 2, []).append(value)
    return {middle: float(np.mean(found)) for middle, found in values.items()}


def _stage(training: Training) -> str:
    return training.config["stage"]


def _losses(trainings: Sequence[Training]) -> list[str]:
    """Names of all losses in the logs, in the order in which they appear: of the objectives too, whatever they are."""
    keys = dict.fromkeys(key for run in trainings for line in run.lines for key in line)
    return [match[1] for match in map(_LOSS.match, keys) if match]


def _loss_panel(stage: str, loss: str, having: Sequence[Training], lines: Sequence[Line], x_label: str) -> Panel:
    names = {line.style: run.name for run, line in zip(having, lines, strict=True)}
    label = f"{loss.replace('_', ' ')} loss"
    return _panel(f"{_STAGES[stage]}: {label}", names, lines, x_label, label)


def _panel(title: str, names: Mapping[str, str], lines: Sequence[Line], x_label: str, y_label: str) -> Panel:
    values = [value for line in lines for value in (*line.y, *line.low)]
    log = min(values) > 0 and max(values) / min(values) > 8
    return Panel(title, names, line_chart(lines, x_label=x_label, y_label=y_label, log=log))

"""Clips, curves and pages in the cell of a notebook: they are shown where a cell ends with them, and load nothing."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from sr_jax.checkpoints.logs import read_metrics
from sr_jax.errors import UserError
from sr_jax.evaluation.report.charts import Line, line_chart
from sr_jax.evaluation.report.curves import thinned
from sr_jax.media.video import read_video, to_uint8
from sr_jax.pages.clips import data_uri, grid
from sr_jax.pages.rendering import render

Clip = str | Path | np.ndarray
"""A video file, or frames `[f, h, w, 3]`: uint8, or numbers in [-1, 1] as a pipeline gives them."""

_LOSS = re.compile(r"loss/\w+$")
_STYLES = 6


@dataclasses.dataclass(frozen=True)
class Html:
    """Markup that a notebook shows when a cell ends with it.

    Attributes:
        markup: HTML, of which every text is escaped.
    """

    markup: str = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return self.markup

    def __html__(self) -> str:
        """What templates put in as it is."""
        return self.markup

    def _repr_html_(self) -> str:
        return self.markup


def show_clips(clips: Mapping[str, Clip] | Sequence[Clip], *, fps: float = 8.0, columns: int = 4) -> Html:
    """Clips beside each other, in step with each other; they play by themselves, again and again.

    Args:
        clips: By the titles above them; files without titles have their names.
        fps: Frames a second of clips that are no files.
        columns: Most clips in a row.

    Raises:
        UserError: When there is none, a file cannot be read, or they differ in length or size.
    """
    if not isinstance(clips, Mapping):
        clips = {_title(clip, number): clip for number, clip in enumerate(clips, start=1)}
    if not clips or columns < 1:
        raise UserError("there is nothing to show: give at least one clip, and one column or more")
    frames = {}
    for title, clip in clips.items():
        frames[title], fps = (_frames(clip), fps) if isinstance(clip, np.ndarray) else read_video(Path(clip))
    shapes = {title: array.shape for title, array in frames.items()}
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{title}: {n} frames of {y}x{x}" for title, (n, y, x, _) in shapes.items())
        raise UserError(f"clips that are shown beside each other must be alike in length and size; {said}")
    titles = list(frames)
    rows = [titles[start : start + columns] for start in range(0, len(titles), columns)]
    shown = [(row, data_uri(grid([[frames[title] for title in row]]), fps)) for row in rows]
    return Html(render("cell/clips.html.j2", rows=shown, columns=min(columns, len(titles))))


def show_curves(*workdirs: str | Path) -> Html:
    """The losses of training runs over their steps, one chart for each loss, with a line for each run that has it.

    Args:
        workdirs: Of the runs, at most six.

    Raises:
        UserError: When none of them has logged anything, or there are too many.
    """
    runs = {Path(workdir).name: curves_of(read_metrics(Path(workdir))) for workdir in workdirs}
    if not any(runs.values()) or len(runs) > _STYLES:
        raise UserError(f"{', '.join(runs) or 'nothing'}: name from 1 to {_STYLES} workdirs of runs that logged a line")
    styles = {name: f"run{number}" for number, name in enumerate(runs)}
    charts = []
    for loss in dict.fromkeys(loss for curves in runs.values() for loss in curves):
        lines = [Line(styles[name], *curves[loss]) for name, curves in runs.items() if loss in curves]
        charts.append((loss, line_chart(lines, x_label="step", y_label=loss)))
    return Html(render("cell/charts.html.j2", charts=charts, names=styles if len(runs) > 1 else {}))


def show_page(path: str | Path, *, height: int = 600) -> Html:
    """A page that a command wrote, such as `preview.html` of a dataset, in a frame of its own.

    Args:
        path: An HTML file.
        height: Of the frame, in pixels.

    Raises:
        UserError: When there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no page {path}")
    frame = Markup('<iframe srcdoc="{}" style="width: 100%; height: {}px; border: 0"></iframe>')
    return Html(frame.format(escape(path.read_text()), height))


def curves_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """The losses of a log by name, each with steps and values; those of one range of times are left out."""
    losses = dict.fromkeys(key for line in lines for key in line if _LOSS.match(key))
    points = {loss: [(line["step"], line[loss]) for line in lines if loss in line] for loss in losses}
    return {
        loss.removeprefix("loss/").replace("_", " "): thinned(np.array(values, float))
        for loss, values in points.items()
    }


def _title(clip: Clip, number: int) -> str:
    return f"clip {number}" if isinstance(clip, np.ndarray) else Path(clip).stem


def _frames(clip: np.ndarray) -> np.ndarray:
    if clip.ndim != 4 or clip.shape[-1] != 3:
        raise UserError(f"a clip is an array [frames, height, width, 3], not {list(clip.shape)}")
    return clip if clip.dtype == np.uint8 else to_uint8(clip)

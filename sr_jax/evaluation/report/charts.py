"""Charts as inline SVG, coloured by the page's style sheet so that they follow its light and dark theme.

The one place where markup is put together in Python: its parts are numbers, and texts that are escaped here.
"""

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 380, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 38


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        style: CSS class that gives the colour, such as "run0" or "real".
        x: Positions, increasing.
        y: Values, as many.
        low: Lower ends of a band around the line, or empty.
        high: Upper ends of the band.
        dots: Whether every point is marked.
    """

    style: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dots: bool = False


@dataclasses.dataclass(frozen=True)
class _Axis:
    """Maps values to pixels, linearly or by logarithm."""

    low: float
    high: float
    start: int
    end: int
    log: bool = False

    def __call__(self, value: float) -> float:
        place, low, high = value, self.low, self.high
        if self.log:
            place, low, high = math.log(value), math.log(low), math.log(high)
        return self.start + (place - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        return _log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)


def line_chart(lines: Sequence[Line], *, x_label: str, y_label: str, log: bool = False) -> Markup:
    """A line chart with axes, grid and bands.

    Args:
        lines: What to draw, in order; at least one point in all.
        x_label: Name and unit of x.
        y_label: Name and unit of y.
        log: Whether y is on a logarithmic scale (all values positive).

    Returns:
        An `<svg>` element.
    """
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in (*line.y, *line.low, *line.high)]
    x_axis = _Axis(*_padded(min(xs), max(xs), 0.0, log=False), _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis(*_padded(min(ys), max(ys), 0.06, log=log), _HEIGHT - _BOTTOM, _TOP, log)
    parts = [_grid(x_axis, y_axis), _labels(x_label, y_label)]
    parts += [_band(line, x_axis, y_axis) for line in lines if line.low]
    parts += [_curve(line, x_axis, y_axis) for line in lines]
    title = escape(f"{y_label} against {x_label}")
    size = f'class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return Markup(f'<svg {size} role="img" aria-label="{title}">{"".join(parts)}</svg>')


def forest_mark(low: float, estimate: float, high: float, *, reach: float, style: str) -> Markup:
    """A small interval plot: a line from `low` to `high`, a dot at the estimate, a tick at zero.

    Args:
        low: Lower end.
        estimate: The estimate.
        high: Upper end.
        reach: The value at the right edge; the left edge is `-reach`.
        style: CSS class of the mark ("better", "worse", "undecided", "few").
    """
    width, middle = 150, 11
    x = [6 + (value / reach + 1) / 2 * (width - 12) if reach else width / 2 for value in (low, estimate, high)]
    return Markup(
        f'<svg class="forest {style}" viewBox="0 0 {width} 22" width="{width}" height="22" aria-hidden="true">'
        f'<line class="zero" x1="{width / 2}" x2="{width / 2}" y1="2" y2="20"/>'
        f'<line class="reach" x1="{x[0]:.1f}" x2="{x[2]:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle cx="{x[1]:.1f}" cy="{middle}" r="4"/></svg>'
    )


def linear_ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers between `low` and `high`, about as many as asked for."""
    raw = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = magnitude * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; fewer when many decades are shown, linear ones when hardly any."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    ticks = [factor * 10.0**decade for decade in decades for factor in factors if low <= factor * 10.0**decade <= high]
    return ticks if len(ticks) > 2 else linear_ticks(low, high)


def _padded(low: float, high: float, margin: float, *, log: bool) -> tuple[float, float]:
    """The range with a margin on both sides; a single value gets a range around it."""
    if log:
        ratio = max(high / low, 1.1) ** margin
        return low / ratio, max(high, low * 1.1) * ratio
    span = (high - low) or abs(high) * 0.2 or 1.0
    return low - span * margin, low + span * (1 + margin)


def _grid(x_axis: _Axis, y_axis: _Axis) -> str:
    parts = []
    for tick in y_axis.ticks():
        y = y_axis(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick:.4g}</text>')
    base = _HEIGHT - _BOTTOM
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    for tick in x_axis.ticks():
        x = x_axis(tick)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{base + 16}" text-anchor="middle">{tick:.4g}</text>')
    return "".join(parts)


def _labels(x_label: str, y_label: str) -> str:
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    return (
        f'<text class="label" x="{middle_x}" y="{_HEIGHT - 5}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="label" x="12" y="{middle_y}" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle_y})">{escape(y_label)}</text>'
    )


def _points(x: Sequence[float], y: Sequence[float], x_axis: _Axis, y_axis: _Axis) -> str:
    return " ".join(f"{x_axis(a):.1f},{y_axis(b):.1f}" for a, b in zip(x, y, strict=True))


def _band(line: Line, x_axis: _Axis, y_axis: _Axis) -> str:
    there = _points(line.x, line.low, x_axis, y_axis)
    back = _points(line.x[::-1], line.high[::-1], x_axis, y_axis)
    return f'<polygon class="band {line.style}" points="{there} {back}"/>'


def _curve(line: Line, x_axis: _Axis, y_axis: _Axis) -> str:
    curve = f'<polyline class="curve {line.style}" points="{_points(line.x, line.y, x_axis, y_axis)}"/>'
    # A line of a single point would be invisible.
    if line.dots or len(line.x) == 1:
        curve += "".join(
            f'<circle class="dot {line.style}" cx="{x_axis(x):.1f}" cy="{y_axis(y):.1f}" r="2.8"/>'
            for x, y in zip(line.x, line.y, strict=True)
        )
    return curve

"""Top-1 over alpha as an inline SVG, coloured by the style sheet of the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diptych_training.refresh.evaluation.evaluate import Choice
from diptych_training.refresh.evaluation.results import POINTS, Evaluation
from diptych_training.refresh.report.content import OWN_TITLE, SHIPPED_TITLE

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 172, 28, 48
LABEL_GAP = 18  # pixels between the labels at the ends of two lines
STEPS = (2, 5, 10, 20)  # points between two grid lines; the first with at most MAX_STEPS of them
MAX_STEPS = 6
Line = Sequence[tuple[float, float]]  # alpha and points


@dataclass(frozen=True)
class _Scale:
    """Pixels of alpha and of points, from `low` to `high` with a grid line every `step`."""

    low: int
    high: int
    step: int

    def x(self, alpha: float) -> float:
        return LEFT + alpha * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def draw_curve(evaluation: Evaluation, choice: Choice) -> str:
    """An `svg` element: a line for each set, and the chosen alpha."""
    shipped = [(mix.alpha, POINTS * mix.shipped.top(1)) for mix in evaluation.mixes]
    own = [(mix.alpha, POINTS * mix.own.top(1)) for mix in evaluation.mixes if mix.own is not None]
    lines = [("shipped", SHIPPED_TITLE, shipped), *([("own", OWN_TITLE, own)] if own else [])]
    scale = _scale([value for _, _, line in lines for _, value in line])
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="curve-title">',
            '<title id="curve-title">Top-1 on each set over alpha, the share of the new weights</title>',
            *_axes(scale),
            *_chosen(scale, choice.alpha),
            *(part for name, _, line in lines for part in _line(scale, name, line)),
            *_end_labels(scale, [(name, title, *line[-1]) for name, title, line in lines]),
            "</svg>",
        ]
    )


def _scale(values: Sequence[float]) -> _Scale:
    """A scale around all values, from a multiple of its step to another."""
    low, high = min(values), max(values)
    step = next((one for one in STEPS if high - low <= one * (MAX_STEPS - 1)), STEPS[-1])
    first, last = math.floor(low / step), math.ceil(high / step)
    return _Scale(step * first, step * max(last, first + 1), step)


def _axes(scale: _Scale) -> list[str]:
    parts = []
    for value in range(scale.low, scale.high + 1, scale.step):
        y = scale.y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text("tick end", LEFT - 8, y + 4, f"{value}"))
    for quarter in range(5):
        parts.append(_text("tick middle", scale.x(quarter / 4), HEIGHT - BOTTOM + 18, f"{quarter / 4:g}"))
    parts.append(
        _text("tick middle", scale.x(0.5), HEIGHT - 6, "alpha: 0 is the old model, 1 the new weights")
    )
    return parts


def _chosen(scale: _Scale, alpha: float) -> list[str]:
    x = scale.x(alpha)
    return [
        f'<path class="chosen" d="M{x:.1f} {TOP - 8}V{HEIGHT - BOTTOM}"/>',
        _text("chosen-label middle", x, TOP - 14, "kept"),
    ]


def _line(scale: _Scale, name: str, line: Line) -> list[str]:
    places = [(scale.x(alpha), scale.y(value)) for alpha, value in line]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = (
        f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="4">'
        f"<title>alpha {alpha:g}: {value:.1f}</title></circle>"
        for (x, y), (alpha, value) in zip(places, line, strict=True)
    )
    return [f'<path class="line {name}" d="M{path}"/>', *dots]


def _end_labels(scale: _Scale, ends: Sequence[tuple[str, str, float, float]]) -> list[str]:
    """The names of the lines at their right ends, each at least LABEL_GAP below the one above."""
    parts, highest = [], float(TOP)
    for name, title, alpha, value in sorted(ends, key=lambda end: -end[-1]):
        y = max(scale.y(value), highest)
        highest = y + LABEL_GAP
        parts.append(_text(f"{name} label", scale.x(alpha) + 8, y + 4, title))
    return parts


def _text(classes: str, x: float, y: float, text: str) -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}">{text}</text>'

"""Few-shot curves as inline SVG, coloured by the style sheet of the page."""

import math
from collections.abc import Callable, Sequence

from diptych_training.evaluate.benchmark.results import Result
from diptych_training.evaluate.benchmark.summary import curve
from diptych_training.reports.text import html_text

WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 38, 12, 14, 40
STEP = 0.2  # between two grid lines
Scale = Callable[[float], float]


def few_shot_svg(results: Sequence[Result], colours: Sequence[int]) -> str:
    """One data set: for each model a curve over examples a class, and zero-shot as a dashed line."""
    shots = sorted({one.shots for result in results for one in result.few_shot})
    low, high = math.log2(shots[0]), math.log2(shots[-1])

    def x(k: float) -> float:
        share = (math.log2(k) - low) / (high - low) if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(score: float) -> float:
        return HEIGHT - BOTTOM - score * (HEIGHT - TOP - BOTTOM)

    name = html_text(results[0].data_set)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{name}: score over examples a class, and zero-shot</title>",
    ]
    for number in range(6):
        level = number * STEP
        parts.append(f'<path class="grid" d="M{LEFT} {y(level):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{y(level) + 4:.1f}">{100 * level:.0f}</text>')
    parts += [f'<text class="middle" x="{x(k):.1f}" y="{HEIGHT - BOTTOM + 16}">{k}</text>' for k in shots]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="middle" x="{middle:.0f}" y="{HEIGHT - 6}">examples a class</text>')
    for result, colour in zip(results, colours, strict=True):
        parts += _model(result, colour, x, y)
    return "\n".join([*parts, "</svg>"])


def _model(result: Result, colour: int, x: Scale, y: Scale) -> list[str]:
    parts = []
    score = result.score()
    if score is not None:
        parts.append(
            f'<path class="zero c{colour}" d="M{LEFT} {y(score):.1f}H{WIDTH - RIGHT}">'
            f"<title>zero-shot: {100 * score:.1f}</title></path>"
        )
    places = [(x(k), y(mean)) for k, mean in curve(result)]
    line = "L".join(f"{at:.1f} {height:.1f}" for at, height in places)
    parts.append(f'<path class="line c{colour}" d="M{line}"/>')
    for one in result.few_shot:
        parts.append(
            f'<circle class="seed c{colour}" cx="{x(one.shots):.1f}" cy="{y(one.score):.1f}" r="2.5">'
            f"<title>{one.shots} a class, seed {one.seed}: {100 * one.score:.1f}</title></circle>"
        )
    return parts

"""Read what a run found: figures by round, their medians and bests, ratios within a round. Writes nothing."""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.serving.bench import Bench
from benchmarks.serving.measures import median
from benchmarks.serving.store import Figures

Rounds = dict[int, float]
NOTHING = "-"


def figures(bench: Bench, **wanted: Any) -> dict[int, Figures]:
    """All figures of one measurement by round."""
    found = bench.store.all(**wanted, seconds=bench.seconds)
    numbered = {parameters.get("round", 0): figures for parameters, figures in found}
    return {number: figures for number, figures in numbered.items() if number < bench.rounds}


def rounds(bench: Bench, figure: str, **wanted: Any) -> Rounds:
    """One figure by round; `latency.<kind>.<figure>` looks into a window of several kinds."""
    found = {number: _at(one, figure) for number, one in figures(bench, **wanted).items()}
    return {number: value for number, value in found.items() if value is not None}


def ratios(above: Rounds, below: Rounds) -> list[float]:
    """Only what was measured in the same round is compared."""
    return [above[number] / below[number] for number in sorted(above) if number in below]


def spell(values: Iterable[float], digits: int = 1, *, low_is_good: bool = False) -> str:
    """The median, and the best in brackets where there are several."""
    found = list(values)
    if not found:
        return NOTHING
    if len(found) == 1:
        return number(found[0], digits)
    best = min(found) if low_is_good else max(found)
    return f"{number(median(found), digits)} ({number(best, digits)})"


def middle(values: Iterable[float], digits: int = 1) -> str:
    """The median alone."""
    found = list(values)
    return number(median(found), digits) if found else NOTHING


def number(value: float, digits: int = 1) -> str:
    """Large ones without decimals."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}f}"


def servers(bench: Bench) -> Sequence[str]:
    """Names of all servers of the same model, ours first."""
    ours = [f"diptych {precision} {decode}" for precision in bench.precisions for decode in bench.decodes]
    return [*ours, *bench.rivals]


def _at(figures: Figures, path: str) -> float | None:
    """None where a short window saw none of that kind."""
    value: Any = figures
    for name in path.split("."):
        value = value.get(name)
        if value is None:
            return None
    return float(value)

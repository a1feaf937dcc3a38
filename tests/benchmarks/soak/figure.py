"""Draw memory, requests a second and latency over the time of a soak."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.soak.samples import Run, Sample
from benchmarks.soak.steps import percentile_ms, together
from benchmarks.soak.verdicts import MAX_GROWTH, judged_from_s, memory_line, n_good, n_hostile

BLUE, ORANGE, GREEN, GREY = "#1f5fa8", "#c2410c", "#4d7c0f", "#6b7280"
N_POINTS = 120  # at most: each is of so many seconds


def draw(run: Run, file: Path) -> None:
    """Replaces the file."""
    mpl.use("Agg")
    figure = Figure(figsize=(10, 7.2), dpi=100, layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    groups = grouped(run.samples)
    _memory(top, run)
    _rates(middle, groups)
    _latency(bottom, groups)
    bottom.set_xlabel("minutes")
    figure.suptitle(
        f"{run.seconds / 60:.0f} minutes, {run.about.clients} clients, {run.about.hostile_share:.0%} hostile"
        f"; {run.about.machine.split(';')[0]}",
        fontsize=11,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def grouped(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    """At most `N_POINTS` groups of as many neighbours each."""
    size = max(1, -(-len(samples) // N_POINTS))
    return [samples[i : i + size] for i in range(0, len(samples), size)]


def _memory(axes: Axes, run: Run) -> None:
    minutes = [sample.at_s / 60 for sample in run.samples]
    axes.plot(minutes, [sample.resident / 1e6 for sample in run.samples], color=BLUE, linewidth=1)
    trend = memory_line(run)
    if trend is not None:
        ends = [trend.begin_s, trend.end_s]
        label = f"least squares: {trend.per_hour / 1e6:+.1f} MB an hour, {trend.growth:+.2%}"
        axes.plot([s / 60 for s in ends], [trend.at(s) / 1e6 for s in ends], color=ORANGE, label=label)
        bound = [trend.start / 1e6, trend.start * (1 + MAX_GROWTH) / 1e6]
        label = f"the bar: {MAX_GROWTH:+.0%}"
        axes.plot([s / 60 for s in ends], bound, color=GREY, linestyle=":", label=label)
        axes.axvline(judged_from_s(run) / 60, color=GREY, linewidth=0.8, alpha=0.5)
        axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.set_ylim(bottom=0)
    _dress(axes, "resident memory, MB")


def _rates(axes: Axes, groups: Sequence[Sequence[Sample]]) -> None:
    minutes = [group[-1].at_s / 60 for group in groups]
    for count, colour, label in ((n_good, BLUE, "good"), (n_hostile, ORANGE, "hostile")):
        per_s = [count(group) / sum(sample.seconds for sample in group) for group in groups]
        axes.plot(minutes, per_s, color=colour, label=label)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    _dress(axes, "requests a second")


def _latency(axes: Axes, groups: Sequence[Sequence[Sample]]) -> None:
    for share, colour in ((0.99, ORANGE), (0.5, GREEN)):
        points = []
        for group in groups:
            steps = together(steps for sample in group for steps in sample.counts.ms.values())
            ms = percentile_ms(steps, share)
            if ms is not None:
                points.append((group[-1].at_s / 60, ms))
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=f"p{100 * share:.0f}")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    _dress(axes, "latency of good requests, ms")


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)

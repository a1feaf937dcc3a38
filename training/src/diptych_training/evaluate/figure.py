"""An evaluation as one figure."""

from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from diptych_training.data.packed import Kind
from diptych_training.evaluate.results import Evaluation, Scores, SourceResult
from diptych_training.evaluate.table import TITLES

PANELS = ("zero-shot", "text_to_image", "image_to_text")
SHADES = {10: "#cfe0ee", 5: "#8db8d8", 1: "#1f5f8f"}  # by k: a larger k is paler
FLOOR, FAR, INK = "#d1495b", "#f2a541", "#333333"
MEAN = "MEAN"


def draw_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write a PNG with one row of bars per source, grouped by kind, and their pixel floors."""
    groups = [(kind, _rows(evaluation, kind)) for kind in evaluation.means()]
    heights = [len(rows) + 1.5 for _, rows in groups]
    figure = Figure(figsize=(13, 1.6 + 0.27 * sum(heights)), layout="constrained", dpi=110)
    axes = figure.subplots(len(groups), len(PANELS), squeeze=False, height_ratios=heights)
    for (kind, rows), line in zip(groups, axes, strict=True):
        for panel, axis in zip(PANELS, line, strict=True):
            _draw_bars(axis, rows, panel)
            _style_axis(axis, [name for name, _, _, _ in rows], named=panel == PANELS[0])
            axis.set_title(_panel_title(panel), loc="left", fontsize=9, color=INK)
        line[0].set_ylabel(TITLES[kind], fontsize=10, fontweight="bold", color=INK)
    figure.align_ylabels(axes[:, 0])
    figure.suptitle(f"{evaluation.model} on {evaluation.dataset}/{evaluation.split}", fontsize=12, color=INK)
    _legend(figure, axes[0][0], has_far=any(result.far is not None for result in evaluation.sources))
    figure.savefig(path)


Row = tuple[str, Scores, Scores | None, float | None]  # name, all images, without near duplicates, floor


def _rows(evaluation: Evaluation, kind: Kind) -> list[Row]:
    """The mean first, then the sources, best zero-shot first."""
    results, means = evaluation.of_kind(kind), evaluation.means()[kind]

    def top1(result: SourceResult) -> float:
        return result.all.zero_shot[1]

    sources = [(r.source, r.all, r.far, r.pixel_floor) for r in sorted(results, key=top1, reverse=True)]
    return [(MEAN, means.all, means.far, means.pixel_floor), *sources]


def _rates(scores: Scores, panel: str) -> dict[int, float]:
    rates = {
        "zero-shot": scores.zero_shot,
        "text_to_image": scores.text_to_image,
        "image_to_text": scores.image_to_text,
    }
    return rates[panel]


def _draw_bars(axis: Axes, rows: list[Row], panel: str) -> None:
    for y, (_, scores, far, floor) in enumerate(rows):
        rates = _rates(scores, panel)
        for k in sorted(rates, reverse=True):
            axis.barh(y, rates[k], height=0.72, color=SHADES[k], zorder=2)
        axis.text(1.015, y, f"{rates[1]:.2f}", va="center", fontsize=7.5, color=SHADES[1])
        if panel != "zero-shot":
            continue
        if far is not None:
            axis.plot(far.zero_shot[1], y, "o", ms=4, mfc=FAR, mec="white", mew=0.5, zorder=5)
        if floor is not None:
            axis.plot([floor, floor], [y - 0.42, y + 0.42], color=FLOOR, lw=1.8, zorder=3)


def _style_axis(axis: Axes, names: list[str], *, named: bool) -> None:
    axis.set_xlim(0, 1)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.axhline(0.5, color=INK, lw=0.6)
    axis.set_yticks(range(len(names)), names if named else [""] * len(names), fontsize=8)
    if named:
        axis.get_yticklabels()[0].set_fontweight("bold")
    axis.tick_params(length=0, labelsize=8, colors=INK)
    axis.grid(axis="x", color="#e6e6e6", lw=0.7, zorder=0)
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)


def _panel_title(panel: str) -> str:
    return "zero-shot top-1, top-5" if panel == "zero-shot" else f"{panel} Recall@1, 5, 10"


def _legend(figure: Figure, axis: Axes, *, has_far: bool) -> None:
    handles: list[Artist | BarContainer] = [
        axis.barh([0], [0], color=SHADES[k], label=f"among the first {k}") for k in (1, 5, 10)
    ]
    if has_far:
        handles += axis.plot([], [], "o", ms=5, color=FAR, label="top-1 without near duplicates")
    handles += axis.plot([], [], "|", ms=9, mew=2, color=FLOOR, label="pixel floor (nearest training image)")
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)

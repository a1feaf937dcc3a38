"""Plots of a run's metrics as a PNG."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diptych_training.train.metrics_log import Series

Points = list[tuple[int, float]]
SMOOTH_FRACTION = 0.02  # width of the running mean, of the curve's length


def draw_curves(series: Series, title: str) -> bytes:
    """PNG with loss, validation accuracy, learning rate and logit scale over steps."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    figure.suptitle(title)
    (loss, validation), (rate, scale) = figure.subplots(2, 2)
    _draw_loss(loss, series.get("loss/contrastive", series.get("loss", [])))
    _draw_validation(validation, series)
    _draw_line(rate, series.get("learning_rate", []), "learning rate")
    _draw_line(scale, series.get("logit_scale", []), "logit scale")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return png.getvalue()


def _draw_loss(axes: Axes, points: Points) -> None:
    _draw_line(axes, points, "contrastive loss", color="#9bbbd8", linewidth=0.7)
    if len(points) > 10:
        steps, values = np.array(points).T
        width = max(3, int(len(points) * SMOOTH_FRACTION))
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        axes.plot(steps[width - 1 :], smooth, color="#12507b", linewidth=1.5)


def _draw_validation(axes: Axes, series: Series) -> None:
    axes.set_title("zero-shot on validation")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    for metric, points in series.items():
        if metric.startswith("validation/"):
            steps, values = zip(*points, strict=True)
            name = metric.removeprefix("validation/")
            axes.plot(steps, values, marker="o", markersize=3, label=f"{name} {values[-1]:.3f}")
    if axes.lines:
        axes.legend(fontsize=8)


def _draw_line(
    axes: Axes, points: Points, title: str, color: str = "#12507b", linewidth: float = 1.2
) -> None:
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, color=color, linewidth=linewidth)

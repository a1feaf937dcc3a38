"""The metrics of a run as CSV and for TensorBoard, and their curves as PNG."""

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TextIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from diptych_training.checkpoint import write_atomic
from diptych_training.run_folder import RunFolder

HEADER = ("step", "metric", "value")
Series = dict[str, list[tuple[int, float]]]


class Log(Protocol):
    """The protocol of a metrics log."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log values measured after `step` steps."""
        ...

    def close(self) -> None:
        """Close the log."""
        ...


class NoLog:
    """The log of every rank but the first."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Do nothing: the first rank writes the same numbers."""

    def close(self) -> None:
        """Do nothing."""


class MetricsLog:
    """Appends (step, metric, value) rows. Resuming at a step drops the rows that the interrupted run wrote
    after it.
    """

    def __init__(self, folder: RunFolder, resumed_at: int) -> None:
        self._writer = SummaryWriter(str(folder.tensorboard), purge_step=resumed_at + 1)
        self._file = _open_at(folder.metrics_file, resumed_at)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log values measured after `step` steps; numbers are written so that they read back exactly."""
        for metric, value in values.items():
            self._file.write(f"{step},{metric},{float(value)!r}\n")
            self._writer.add_scalar(metric, value, step)
        self._file.flush()

    def close(self) -> None:
        """Flush and close the CSV file and the event file."""
        self._writer.close()
        self._file.close()


def read_metrics(path: Path) -> Series:
    """All rows of a metrics file, by metric, as (step, value) in order."""
    series: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for step, metric, value in _rows(path):
        series[metric].append((step, value))
    return dict(series)


def _open_at(path: Path, resumed_at: int) -> TextIO:
    """Open the file for appending, with its header and the rows up to `resumed_at`."""
    kept = [",".join(HEADER)]
    if resumed_at and path.is_file():
        kept += [f"{step},{metric},{value!r}" for step, metric, value in _rows(path) if step <= resumed_at]
    write_atomic(path, ("\n".join(kept) + "\n").encode())
    return path.open("a", newline="", encoding="utf-8")


def _rows(path: Path) -> Iterator[tuple[int, str, float]]:
    """Yield the readable rows: a killed run may have left half a line, or worse."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        step, _, rest = line.partition(",")
        metric, _, value = rest.partition(",")
        if line.endswith("\n"):
            with suppress(ValueError):  # the header, too
                yield int(step), metric, float(value)


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

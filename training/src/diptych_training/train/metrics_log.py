"""The metrics of a run: a CSV file and TensorBoard events."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TextIO

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

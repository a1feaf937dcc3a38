"""Progress on stderr: a bar on a terminal, otherwise one line now and then."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from time import monotonic
from typing import Any, TypeVar

from tqdm import tqdm

BAR_INTERVAL_S, LINE_INTERVAL_S = 0.5, 30.0
MIN_MEASURED_S = 5.0  # no time left is estimated from less
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} {unit}s, {elapsed} so far{left}{postfix}"
COUNTED = "{desc}: {n_fmt}/{total_fmt} {unit}s, {elapsed} so far{left}{postfix}"
UNCOUNTED = "{desc}: {n_fmt} {unit}s, {elapsed} so far{postfix}"

Item = TypeVar("Item")
Reporter = Callable[[str], object]  # receives a line for the user


class LineWriter:
    """A file object for tqdm that writes each update as a line of its own and drops updates that only
    clear.
    """

    def write(self, drawn: str) -> None:
        """Write the text without carriage returns and padding."""
        if line := drawn.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        """Flush stderr."""
        sys.stderr.flush()


class ProgressBar(tqdm):  # type: ignore[type-arg]
    """A bar that shows the time left as soon as it is measured.

    The measurement starts with the first update, since what comes before includes preparations, and what was
    done already.
    """

    estimates = True
    _started: tuple[float, float] | None = None  # when the first update came, and n then

    def update(self, n: float | None = 1) -> bool | None:
        """Add n items, as tqdm does."""
        shown = super().update(n)
        if self._started is None:
            self._started = monotonic(), self.n
        return shown

    @property
    def format_dict(self) -> Any:
        """tqdm's values, and `left`: the time left in words, empty if it is unknown or none is left."""
        left_s = self._seconds_left()
        return {
            **super().format_dict,
            "left": "" if left_s is None else f", {self.format_interval(left_s)} left",
        }

    def _seconds_left(self) -> float | None:
        if not self.estimates or self._started is None or not self.total or self.n >= self.total:
            return None
        started, n_before = self._started
        took_s, n_measured = monotonic() - started, self.n - n_before
        if took_s < MIN_MEASURED_S or n_measured <= 0:
            return None
        return (self.total - self.n) * took_s / n_measured


def progress_bar(
    *, unit: str, total: int | None = None, desc: str | None = None, left: bool = True, **options: Any
) -> ProgressBar:
    """Create a bar that the caller updates; with `left` it estimates the time left; `options` are tqdm's."""
    bar = ProgressBar(unit=unit, total=total, desc=desc, **_display_options(total), **options)
    bar.estimates = left
    return bar


def each(items: Iterable[Item], *, unit: str, desc: str | None = None) -> Iterator[Item]:
    """Iterate over the items with a progress bar."""
    with progress_bar(unit=unit, total=len(items) if isinstance(items, Sized) else None, desc=desc) as bar:
        for item in items:
            yield item
            bar.update()


def _display_options(total: int | None) -> dict[str, Any]:
    if sys.stderr.isatty():
        return {"mininterval": BAR_INTERVAL_S, "bar_format": None if total is None else BAR}
    every = {"mininterval": LINE_INTERVAL_S, "maxinterval": LINE_INTERVAL_S}
    return {**every, "file": LineWriter(), "bar_format": UNCOUNTED if total is None else COUNTED}

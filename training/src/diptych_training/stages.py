"""Progress reports of long commands: a bar, and the time and memory of each finished stage."""

import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from diptych_training.progress import ProgressBar, progress_bar
from diptych_training.reports.markdown import markdown_table

MB = 1e6


def _nothing_pressed() -> None:
    """The check of commands that do not handle Ctrl-C."""


@dataclass(frozen=True)
class ProgressReporter:
    """Reports progress: `report` prints a line, `advance` moves the bar by a number of embedded images.

    `check` raises KeyboardInterrupt if Ctrl-C was pressed.
    """

    report: Callable[[str], object]
    advance: Callable[[int], object]
    check: Callable[[], None] = _nothing_pressed


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt in the block, as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def report_progress(n_images: int, name: str) -> Iterator[ProgressReporter]:
    """Show a progress bar over `n_images` embeddings, with the lines of finished stages above it.

    The bar appears with the first embeddings, so that no error of earlier stages stands below an empty one.
    It estimates no time left: stages embed at different rates, and other work comes in between.

    Ctrl-C interrupts at once; so does SIGTERM within `sigterm_as_interrupt`. If a library swallows that
    KeyboardInterrupt, the next `advance` or `check` raises it again.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}
    pressed: list[int] = []
    shown = ExitStack()
    bar = cache(
        lambda: shown.enter_context(progress_bar(total=n_images, unit="image", desc=name, left=False))
    )

    def notice(number: int, _frame: object) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    def advance(n_done: int) -> None:
        check()
        bar().update(n_done)

    for number in before:
        signal.signal(number, notice)
    try:
        with shown:
            yield ProgressReporter(report=ProgressBar.write, advance=advance, check=check)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stages:
    """Measures stages and reports a line when each is finished."""

    def __init__(self, reporter: ProgressReporter) -> None:
        self._reporter = reporter
        self._rows: list[list[str]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one stage; a stage that raises is not counted as finished.

        Raises KeyboardInterrupt if Ctrl-C was pressed during the stage, even if a library swallowed it.
        """
        self._reporter.check()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._reporter.check()
        seconds = f"{time.perf_counter() - started:.1f}"
        peak_mb = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB:,.0f}"
        self._rows.append([name, seconds, peak_mb])
        self._reporter.report(f"{name}: {seconds} s, peak memory so far {peak_mb} MB")

    def table(self) -> str:
        """Return a Markdown table with a row for each finished stage."""
        return markdown_table(["stage", "seconds", "peak memory so far, MB"], self._rows)


def files_table(folder: Path) -> str:
    """Return a Markdown table with the size of every file in a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return markdown_table(["file", "MB"], [[f.name, f"{f.stat().st_size / MB:,.2f}"] for f in files])

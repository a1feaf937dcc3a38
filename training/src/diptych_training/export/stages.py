"""Tell a person how far a long command is, and what each stage took; knows nothing of what the stages do."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diptych_training.evaluate.table import markdown_table
from diptych_training.export.interrupts import Check, nothing_pressed

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): resets the peak resident set size
MB = 1e6


@dataclass(frozen=True)
class Watcher:
    """Who is told how far a command is: `say` a finished stage, `advance` by images embedded.

    `check` raises KeyboardInterrupt if somebody wants it to end.
    """

    say: Callable[[str], object]
    advance: Callable[[int], object]
    check: Check = nothing_pressed


@dataclass(frozen=True)
class Stage:
    """What one stage took. `peak_bytes` is the resident memory of the process at its highest in the stage."""

    name: str
    seconds: float
    peak_bytes: int


class Stages:
    """Times stages and says a line when each is finished."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.finished: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage; one that raises is not counted as finished.

        Raises KeyboardInterrupt if Ctrl-C was pressed in it, whatever a library made of that.
        """
        self._watcher.check()
        _reset_peak()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._watcher.check()
        stage = Stage(name, time.perf_counter() - started, peak_memory_bytes())
        self.finished.append(stage)
        self._watcher.say(f"{name}: {stage.seconds:.1f} s, peak memory {stage.peak_bytes / MB:,.0f} MB")

    def table(self) -> str:
        """Markdown: a row for each finished stage."""
        rows = [[s.name, f"{s.seconds:.1f}", f"{s.peak_bytes / MB:,.0f}"] for s in self.finished]
        return markdown_table(["stage", "seconds", "peak memory, MB"], rows)


def files_table(folder: Path) -> str:
    """Markdown: the size of every file of a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return markdown_table(["file", "MB"], [[f.name, f"{f.stat().st_size / MB:,.2f}"] for f in files])


def peak_memory_bytes() -> int:
    """The highest resident memory of this process: since the last reset on Linux, ever elsewhere."""
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reset_peak() -> None:
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError:
        return  # not this kernel, or not allowed: the peak then is that of all stages so far

"""What a person is told of a long command, and where its pixels lie."""

import os
import signal
import threading
from contextlib import nullcontext

import pytest

from diptych_training import progress
from diptych_training.progress import ProgressBar, progress_bar
from diptych_training.stages import (
    ProgressReporter,
    Stages,
    report_progress,
    sigterm_as_interrupt,
)


def test_each_finished_stage_is_one_line_and_one_row() -> None:
    said: list[str] = []
    stages = Stages(ProgressReporter(said.append, said.append))

    with stages.stage("read"):
        pass
    with pytest.raises(ValueError, match="broken"), stages.stage("write"):
        raise ValueError("broken")

    assert len(said) == 1
    assert said[0].startswith("read: 0.0 s, peak memory so far ")
    assert "| read " in stages.table()
    assert "write" not in stages.table()


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def swallow_ctrl_c() -> None:
    """As a library does that is interrupted where it cannot let an exception through."""
    try:
        press_ctrl_c()
        threading.Event().wait(5)  # a signal is handled between two steps of Python
    except KeyboardInterrupt:
        return


def test_ctrl_c_interrupts_at_once_and_the_former_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), report_progress(10, "test"):
        press_ctrl_c()
        threading.Event().wait(5)

    assert signal.getsignal(signal.SIGINT) is before


def test_swallowed_ctrl_c_ends_at_the_next_progress() -> None:
    with report_progress(10, "test") as reporter:
        reporter.advance(1)
        swallow_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            reporter.advance(1)


def test_sigterm_interrupts_as_ctrl_c_does_also_below_a_progress_bar() -> None:
    before = signal.getsignal(signal.SIGTERM)

    for bar in (nullcontext(), report_progress(10, "test")):
        with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt(), bar:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)

    assert signal.getsignal(signal.SIGTERM) is before


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


def shown(bar: ProgressBar) -> str:
    return str(bar).partition(" so far")[2]


def test_a_bar_shows_no_time_left_until_it_measured_some(clock: Clock) -> None:
    with progress_bar(unit="step", total=120) as bar:
        assert shown(bar) == ""
        clock.now += 60  # loading, compiling, the first step
        bar.update()
        assert shown(bar) == ""
        clock.now += 4
        bar.update(2)
        assert shown(bar) == ""
        clock.now += 4
        bar.update(2)
        assert shown(bar) == ", 03:50 left"  # 115 steps of two seconds

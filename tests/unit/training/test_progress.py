"""The time left that a progress bar shows."""

import pytest

from diptych_training import progress
from diptych_training.progress import ProgressBar, each, progress_bar


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


def test_what_was_done_before_does_not_count(clock: Clock) -> None:
    with progress_bar(unit="image", total=1_000) as bar:
        bar.update(800)  # was there already
        clock.now += 10
        bar.update(100)
        assert shown(bar) == ", 00:10 left"


def test_a_full_bar_and_one_without_a_total_show_none(clock: Clock) -> None:
    for total in (20, None):
        with progress_bar(unit="pair", total=total) as bar:
            bar.update(10)
            clock.now += 10
            bar.update(10)
            assert "left" not in str(bar)


def test_a_bar_whose_pace_changes_shows_none(clock: Clock) -> None:
    with progress_bar(unit="image", total=100, left=False) as bar:
        bar.update(10)
        clock.now += 10
        bar.update(10)
        assert shown(bar) == ""


def test_each_counts_what_it_yields() -> None:
    assert list(each(["a", "b"], unit="letter")) == ["a", "b"]

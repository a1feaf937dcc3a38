import pytest

from benchmarks.serving.measures import Span, median, percentile, rate
from benchmarks.serving.turns import together


def test_percentile_is_the_nearest_rank() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(values, 0.5) == 3.0
    assert percentile(values, 0.99) == 5.0
    assert percentile(values, 0.2) == 1.0
    assert percentile([7.0], 0.5) == 7.0


def test_median_of_two_lies_between() -> None:
    assert median([1.0, 4.0]) == 2.5
    assert median([9.0, 1.0, 4.0]) == 4.0


def test_bursts_at_the_edges_do_not_change_the_rate() -> None:
    # Batches of 8, one a second: however the window lies, it is 8 a second.
    bursts = [Span(second, second + 1.0) for second in range(10) for _ in range(8)]
    for begin in (1.0, 1.3, 1.999):
        assert rate(bursts, begin, begin + 3.5) == pytest.approx(8.0)


def test_requests_outside_of_the_window_do_not_count() -> None:
    assert rate([Span(0.0, 1.0), Span(5.0, 6.0)], 2.0, 4.0) == 0.0


def test_windows_of_one_thing_become_one() -> None:
    first = {"per_s": 10.0, "n": 40, "seconds": 4.0, "p99_ms": 7.0, "peak_mb": 90.0, "batch": 8}
    second = {**first, "per_s": 30.0, "n": 120, "p99_ms": 9.0, "peak_mb": 80.0}
    third = {**first, "per_s": 20.0, "n": 80, "p99_ms": 8.0}
    assert together([first, second, third]) == {
        **{"per_s": 20.0, "n": 240, "seconds": 12.0, "p99_ms": 9.0, "peak_mb": 90.0, "batch": 8}
    }

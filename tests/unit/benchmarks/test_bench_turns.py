import numpy as np
import pytest

from benchmarks.serving.turns import as_one, best_of, n_pairs_in, over_best


def _turns(*per_s: float) -> list[dict[str, float]]:
    return [{"per_s": one} for one in per_s]


def test_a_turn_has_no_say_in_which_cell_it_is_held_against() -> None:
    lucky_once, steady = _turns(30.0, 20.0, 20.0), _turns(21.0, 21.0, 21.0)
    assert best_of([lucky_once, steady]) is steady
    assert over_best(_turns(21.0, 21.0, 21.0), [lucky_once, steady]) == pytest.approx([1.0, 1.05, 1.05])


def test_a_server_that_is_as_fast_as_cells_that_are_alike_is_told_to_be_so() -> None:
    many = np.random.default_rng(0).normal(30.0, 3.0, (500, 4, 5))  # the server and three cells, five turns
    found = [over_best(_turns(*http), [_turns(*cell) for cell in cells]) for http, *cells in many]
    assert np.median(np.array(found)) == pytest.approx(1.0, abs=0.01)


def test_short_windows_are_told_as_the_turn_that_they_are_of() -> None:
    windows = [
        {"ms": ms, "n": len(ms), "n_least": len(ms), "p50_ms": ms[0], "seconds": 0.25, "per_s": per_s}
        for ms, per_s in (([5.0, 9.0, 1.0], 8.0), ([2.0, 8.0], 4.0), ([3.0, 7.0], 6.0))
    ]
    assert as_one(windows) == {
        "n": 7,
        "n_least": 7,
        "p50_ms": 5.0,
        "p99_ms": 9.0,
        "seconds": 0.75,
        "per_s": 6.0,
    }


@pytest.mark.parametrize(("seconds", "n_pairs"), [(2.0, 8), (0.5, 2), (0.1, 1)])
def test_a_turn_has_as_many_pairs_as_fit(seconds: float, n_pairs: int) -> None:
    assert n_pairs_in(seconds) == n_pairs

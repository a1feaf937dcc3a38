import pytest

from diptych.core.plan import (
    BATCH_SIZES,
    GPU_ENOUGH,
    Way,
    affordable,
    best_way,
    decode_threads,
    measure_seconds,
    sizes_to_try,
    sizes_up_to,
)

WAYS = [Way(lanes, size) for lanes in (1, 2) for size in (1, 4, 8)]


def test_slow_models_are_tried_on_few_ways() -> None:
    assert affordable(WAYS, {1: 0.001, 2: 0.001}, budget_s=1.0) == [
        *(Way(1, 1), Way(2, 1), Way(1, 4), Way(1, 8), Way(2, 4), Way(2, 8))
    ]
    assert affordable(WAYS, {1: 0.1, 2: 0.1}, budget_s=2.0) == [Way(1, 1), Way(2, 1), Way(1, 4)]
    assert affordable(WAYS, {1: 100.0, 2: 100.0}, budget_s=2.0) == [Way(1, 1), Way(2, 1)]


def test_ways_cost_what_items_take_in_so_many_lanes() -> None:
    assert affordable(WAYS, {1: 0.5, 2: 0.05}, budget_s=2.0) == [Way(2, 1), Way(2, 4), Way(1, 1)]


def test_best_of_several_rounds_counts_and_time_is_kept() -> None:
    now = 0.0
    costs = {"a": iter([3.0, 1.0, 2.0, 9.0]), "b": iter([2.0, 2.0, 2.0, 9.0])}

    def run(option: str) -> None:
        nonlocal now
        now += next(costs[option])

    assert measure_seconds(["a", "b"], run, 12.5, cost=lambda: now, clock=lambda: now) == {"a": 1.0, "b": 2.0}
    assert now == 12.0


def test_every_way_runs_once_however_long_it_takes() -> None:
    now = 0.0

    def run(_: str) -> None:
        nonlocal now
        now += 100.0

    assert measure_seconds(["a", "b"], run, 1.0, cost=lambda: now, clock=lambda: now) == {
        "a": 100.0,
        "b": 100.0,
    }


def test_a_slow_model_is_tried_with_small_batches_and_a_slower_one_with_single_items() -> None:
    assert sizes_to_try({1: 0.04, 2: 0.04}, budget_s=1.0) == BATCH_SIZES
    assert sizes_to_try({1: 0.08, 2: 0.08}, budget_s=1.0) == (4,)
    assert sizes_to_try({1: 0.5, 2: 0.5}, budget_s=1.0) == (1,)
    assert sizes_to_try({1: 50.0, 2: 50.0}, budget_s=1.0) == (1,)


@pytest.mark.parametrize(
    "item_s",
    [
        {1: 0.012, 8: 0.0065, 16: 0.00575},  # ViT-B/32 on 16 cores, of which one lane makes little use
        {1: 0.008, 16: 0.0033, 32: 0.0029},
        {1: 0.010, 32: 0.0016, 64: 0.00145},
    ],
)
def test_many_cores_are_tried_with_batches_though_one_lane_makes_little_use_of_them(
    item_s: dict[int, float],
) -> None:
    assert sizes_to_try(item_s, budget_s=2.2) == BATCH_SIZES


def seconds(**rates: float) -> dict[Way, float]:
    """`l2b8=80`: two lanes of batches of 8 do 80 items a second."""
    ways = {Way(int(name[1]), int(name[3:])): rate for name, rate in rates.items()}
    return {way: way.n_items / rate for way, rate in ways.items()}


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ({"l1b1": 40, "l1b8": 60, "l2b1": 60, "l2b8": 75}, Way(2, 8)),
        ({"l1b1": 40, "l1b8": 60, "l2b1": 50, "l2b8": 59}, Way(2, 8)),  # one lane is no better
        ({"l1b1": 40, "l1b8": 64, "l2b1": 60, "l2b8": 62}, Way(1, 8)),  # it is
        ({"l1b8": 60, "l2b8": 74, "l4b8": 75}, Way(2, 8)),  # batches take longer in more lanes
        ({"l1b8": 60, "l2b8": 70, "l4b8": 75}, Way(4, 8)),
        ({"l1b1": 40, "l1b4": 59, "l1b8": 60}, Way(1, 4)),  # larger batches only add waiting
        ({"l1b1": 40}, Way(1, 1)),
    ],
)
def test_lanes_are_preferred_to_one_and_few_lanes_and_small_batches_to_more(
    rates: dict[str, float], best: Way
) -> None:
    assert best_way(seconds(**rates)) == best


def test_larger_batches_must_bring_more_on_a_cpu_than_on_a_gpu() -> None:
    rates = seconds(l1b8=96, l1b16=100)
    assert best_way(rates) == Way(1, 8)
    assert best_way(rates, GPU_ENOUGH) == Way(1, 16)


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8)), (9, (1, 2, 4, 8, 9))],
)
def test_batches_run_in_powers_of_two_and_the_largest_size(largest: int, sizes: tuple[int, ...]) -> None:
    assert sizes_up_to(largest) == sizes


def test_filling_a_batch_up_never_doubles_it() -> None:
    for largest in (1, 7, 64, 100, 256):
        for n_items in range(1, largest + 1):
            assert next(size for size in sizes_up_to(largest) if size >= n_items) < 2 * n_items


def test_an_encoder_that_is_faster_than_all_cores_decode_leaves_them_all_to_decoding() -> None:
    assert decode_threads({8: 0.1, 16: 0.05}) == 16
    assert decode_threads({8: 0.1, 16: 0.109}) == 16, "what is hardly sooner takes no core from decoding"


def test_an_encoder_on_the_same_cores_keeps_those_with_which_both_are_done_sooner() -> None:
    assert decode_threads({1: 0.1, 2: 0.12}) == 1

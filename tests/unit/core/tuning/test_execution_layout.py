"""Which layouts are measured, and which is chosen by its time."""

import pytest

from diptych.core.tuning.execution_layout import (
    GPU_BATCH_SIZES,
    ExecutionLayout,
    best_layout,
    cpu_layouts,
    gpu_layouts,
    sizes_up_to,
)

Shape = tuple[int, int, int]


def shapes(layouts: list[ExecutionLayout]) -> list[Shape]:
    return [(one.n_workers, one.batch_size, one.n_threads) for one in layouts]


@pytest.mark.parametrize(
    ("n_threads", "layouts"),
    [
        (1, [(1, 8, 1)]),
        (2, [(2, 8, 1), (1, 8, 2)]),
        (3, [(3, 8, 1), (1, 8, 3)]),
        (16, [(8, 8, 2), (16, 8, 1), (1, 8, 16)]),
    ],
)
def test_cores_are_tried_as_few_and_as_many_workers_and_as_one(n_threads: int, layouts: list[Shape]) -> None:
    assert shapes(cpu_layouts(n_threads, 8)) == layouts


@pytest.mark.parametrize(("n_workers", "n_threads"), [(1, 16), (3, 5), (16, 1), (20, 1)])
def test_number_of_workers_that_is_given_is_the_only_one(n_workers: int, n_threads: int) -> None:
    assert shapes(cpu_layouts(16, 8, n_workers=n_workers)) == [(n_workers, 8, n_threads)]


def test_gpu_is_tried_with_one_worker_and_batches_up_to_a_size() -> None:
    assert [one.batch_size for one in gpu_layouts(64)] == [8, 16, 32, 64]
    assert [one.batch_size for one in gpu_layouts(1000)] == list(GPU_BATCH_SIZES)
    assert {one.n_workers for one in gpu_layouts(1000)} == {1}


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ([(2, 8, 75), (1, 8, 60)], (2, 8)),
        ([(2, 8, 60), (1, 8, 61)], (2, 8)),  # one worker is hardly faster
        ([(2, 8, 62), (1, 8, 64)], (1, 8)),
        ([(2, 8, 74), (4, 8, 75), (1, 8, 60)], (2, 8)),  # a batch takes longer the fewer threads it has
        ([(2, 8, 70), (4, 8, 75), (1, 8, 60)], (4, 8)),
        ([(1, 8, 90), (1, 16, 99), (1, 32, 100)], (1, 16)),  # larger batches only add waiting
        ([(1, 1, 40)], (1, 1)),
    ],
)
def test_preferred_layout_is_taken_unless_another_is_clearly_faster(
    rates: list[tuple[int, int, float]], best: tuple[int, int]
) -> None:
    layouts = {ExecutionLayout(n, size): rate for n, size, rate in rates}
    found = best_layout({layout: layout.n_items / rate for layout, rate in layouts.items()})
    assert (found.n_workers, found.batch_size) == best


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

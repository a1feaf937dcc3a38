from hypothesis import given
from hypothesis import strategies as st

from diptych.core.encoding.batcher import SORTED_BATCHES, BatchQueue


def filled(max_batch_size: int, *owners: list[int], sized: bool) -> BatchQueue[int, int]:
    """Owners 0, 1, ... with items of these sizes."""
    queue: BatchQueue[int, int] = BatchQueue(max_batch_size, (lambda size: size) if sized else None)
    for owner, sizes in enumerate(owners):
        queue.push(owner, sizes)
    return queue


def all_batches(queue: BatchQueue[int, int]) -> list[list[tuple[int, int]]]:
    return list(iter(queue.take, []))


def test_batch_without_sizes_goes_by_turns() -> None:
    queue = filled(4, [0] * 5, [0], [0] * 2, sized=False)
    assert all_batches(queue) == [[(0, 0), (1, 0), (2, 0), (0, 1)], [(2, 1), (0, 2), (0, 3), (0, 4)]]


def test_items_of_one_size_meet() -> None:
    sizes = [50, 10, 51, 90, 11, 91]
    batches = all_batches(filled(2, sizes, sized=True))
    assert [[sizes[index] for _, index in batch] for batch in batches] == [[10, 11], [50, 51], [90, 91]]


def test_draw_is_cut_into_batches_of_about_one_number() -> None:
    batches = all_batches(filled(8, [1] * 9, sized=True))
    assert [len(batch) for batch in batches] == [4, 5]


def test_few_items_are_one_batch_in_the_order_of_turns() -> None:
    assert all_batches(filled(4, [9, 1], [5], sized=True)) == [[(0, 1), (1, 0), (0, 0)]]


def test_batches_of_one_go_by_turns_whatever_the_sizes() -> None:
    batches = all_batches(filled(1, [9, 8], [1], sized=True))
    assert batches == [[(0, 1)], [(1, 0)], [(0, 0)]]


def test_dropped_owner_leaves_the_batches_that_are_sorted_already() -> None:
    queue = filled(2, [1, 2, 3, 4, 5], [1], sized=True)
    assert queue.take() == [(0, 0), (1, 0)]
    queue.push(2, [9])
    queue.drop(0)
    assert len(queue) == 1
    assert all_batches(queue) == [[(2, 0)]]


owners = st.lists(st.lists(st.integers(0, 5), max_size=30), max_size=8)


@given(
    early=owners,
    late=owners,
    max_batch_size=st.integers(1, 8),
    sized=st.booleans(),
    n_before=st.integers(0, 9),
    drop=st.integers(0, 9),
)
def test_each_item_comes_once_and_every_owner_within_few_batches(
    early: list[list[int]],
    late: list[list[int]],
    max_batch_size: int,
    sized: bool,
    n_before: int,
    drop: int,
) -> None:
    """Owner `drop` leaves after `n_before` batches, when the late ones come."""
    queue = filled(max_batch_size, *early, sized=sized)
    batches = [queue.take() for _ in range(n_before)]
    queue.drop(drop)
    for owner, sizes in enumerate(late, start=10):
        queue.push(owner, sizes)
    batches += all_batches(queue)
    taken = [one for batch in batches for one in batch]
    assert len(taken) == len(set(taken))
    expected = {(owner, i) for owner, sizes in enumerate(early) for i in range(len(sizes)) if owner != drop}
    expected |= {(owner, i) for owner, sizes in enumerate(late, start=10) for i in range(len(sizes))}
    assert {one for one in taken if one[0] != drop} == expected
    assert all(len(batch) <= max_batch_size for batch in batches)
    n_owners = len(early) + len(late)
    draws = SORTED_BATCHES if sized else 1
    bound = (-(-n_owners // max_batch_size) + 2) * draws  # all owners once; a draw before, and one to end in
    for owner, sizes in enumerate(late, start=10):
        if sizes:
            first = next(n for n, batch in enumerate(batches) if any(one[0] == owner for one in batch))
            assert first - n_before < bound

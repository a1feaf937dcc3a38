"""The order in which pictures are proposed for review."""

from collections.abc import Iterator

import numpy as np

from diptych.core.labels.proposals import in_random_order, proposed

UNCERTAIN = list(range(100))
DRAWN = list(reversed(UNCERTAIN))
ALONE = {key: key for key in UNCERTAIN}


def one_by_one(uncertain: list[int], drawn: list[int]) -> Iterator[tuple[int, bool]]:
    """What a reviewer sees who asks for one picture at a time."""
    for n in range(len(uncertain)):
        ((key, is_drawn),) = proposed(uncertain, drawn, ALONE, n, 1)
        yield key, is_drawn
        uncertain, drawn = ([one for one in keys if one != key] for keys in (uncertain, drawn))


def test_every_fifth_picture_is_drawn() -> None:
    found = proposed(UNCERTAIN, DRAWN, ALONE, 0, 10)
    assert found == [
        *((key, False) for key in range(4)), (99, True), *((key, False) for key in range(4, 8)), (98, True),
    ]  # fmt: skip
    assert [is_drawn for _, is_drawn in proposed(UNCERTAIN, DRAWN, ALONE, 3, 3)] == [False, True, False]


def test_order_does_not_depend_on_how_many_are_asked_for() -> None:
    drawn = in_random_order(np.array(UNCERTAIN), 1).tolist()
    whole = proposed(UNCERTAIN, drawn, ALONE, 0, len(UNCERTAIN))
    assert whole == list(one_by_one(UNCERTAIN, drawn))
    assert sorted(key for key, _ in whole) == UNCERTAIN


def test_picture_that_is_drawn_next_is_not_proposed_as_an_uncertain_one() -> None:
    assert proposed([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], ALONE, 0, 5) == [
        (2, False), (3, False), (4, False), (5, False), (1, True),
    ]  # fmt: skip


def test_last_picture_is_proposed() -> None:
    assert proposed([7], [7], ALONE, 0, 20) == [(7, False)]
    assert proposed([7], [7], ALONE, 4, 20) == [(7, True)]
    assert proposed([], [], ALONE, 3, 20) == []


def test_near_duplicate_waits_until_the_first_was_reviewed() -> None:
    groups = ALONE | {1: 0, 2: 0, 99: 0}
    found = proposed(UNCERTAIN, DRAWN, groups, 0, 5)
    assert found == [(3, False), (4, False), (5, False), (6, False), (99, True)]
    assert proposed([1, 2, 5], [5, 2, 1], groups, 0, 3) == [(1, False), (5, False)]


def test_random_order_is_of_the_set_and_the_images_alone() -> None:
    keys = np.arange(1_000)
    first = in_random_order(keys, 1)
    assert first.tolist() == in_random_order(keys[::-1], 1).tolist()
    assert first.tolist() != in_random_order(keys, 2).tolist()
    assert sorted(first.tolist()) == keys.tolist()
    without = in_random_order(np.delete(keys, first[:5]), 1)
    assert without.tolist() == first[5:].tolist()
    assert 410 < first[:100].mean() < 590  # three deviations of such a mean

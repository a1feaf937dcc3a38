from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from diptych.core.concurrency.fair_queue import FairQueue


def filled(**items: str) -> FairQueue[str, str]:
    queue: FairQueue[str, str] = FairQueue()
    for owner, given_items in items.items():
        queue.push(owner, given_items)
    return queue


def names(taken: list[tuple[str, str]]) -> str:
    return " ".join(owner + item for owner, item in taken)


def test_owners_take_turns_and_the_next_call_goes_on_where_the_last_one_stopped() -> None:
    queue = filled(a="123", b="1", c="12")
    assert names(queue.take(2)) == "a1 b1"
    assert names(queue.take(3)) == "c1 a2 c2"
    assert names(queue.take(9)) == "a3"
    assert queue.take(1) == []


def test_tenants_take_turns_and_so_do_the_owners_of_each() -> None:
    queue: FairQueue[str, str] = FairQueue()
    for owner in "abc":
        queue.push(owner, "12", "greedy")
    queue.push("z", "123", "modest")
    assert names(queue.take(5)) == "a1 z1 b1 z2 c1"
    assert names(queue.take(9)) == "z3 a2 b2 c2"


def test_new_tenant_waits_for_one_item_of_each_other_tenant_only() -> None:
    queue: FairQueue[str, str] = FairQueue()
    for owner in "abcdefgh":
        queue.push(owner, "12", "greedy")
    queue.take(1)
    queue.push("z", "1", "modest")
    assert names(queue.take(2)) == "b1 z1"


def test_tenant_whose_last_owner_is_dropped_takes_no_turn() -> None:
    queue: FairQueue[str, str] = FairQueue()
    queue.push("a", "12", "greedy")
    queue.push("z", "12", "modest")
    assert queue.drop("z") == 2
    assert names(queue.take(9)) == "a1 a2"


# Pushes of so many items, takes of so many, and the drop of the n-th owner.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 9)),
        st.tuples(st.just("take"), st.integers(0, 7)),
        st.tuples(st.just("drop"), st.integers(0, 9)),
    ),
    max_size=40,
)


@given(steps)
def test_every_item_comes_once_and_nobody_comes_twice_before_another_who_waits(
    steps: list[tuple[str, int]],
) -> None:
    queue: FairQueue[int, int] = FairQueue()
    left: dict[int, list[int]] = {}  # by owner, what must still come, in this order
    since: dict[int, Counter[int]] = {}  # by owner who waits, what others got meanwhile
    for what, n in [*steps, ("take", 1000)]:
        if what == "push":
            owner = len(since)
            queue.push(owner, range(n))
            left[owner], since[owner] = list(range(n)), Counter()
        elif what == "drop":
            queue.drop(n)
            left.get(n, []).clear()
        else:
            taken = queue.take(n)
            assert len(taken) == min(n, sum(map(len, left.values())))
            for owner, item in taken:
                assert item == left[owner].pop(0)
                since[owner].clear()
                for other, meanwhile in since.items():
                    if left[other] and other != owner:
                        meanwhile[owner] += 1
                        assert meanwhile[owner] == 1
        assert len(queue) == sum(map(len, left.values()))
    assert not any(left.values())

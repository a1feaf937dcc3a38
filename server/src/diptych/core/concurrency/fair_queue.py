"""Give out the items of several owners in turns; knows nothing of what the items or their owners are."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)
Item = TypeVar("Item")


class FairQueue(Generic[Owner, Item]):
    """Owners stand in a ring: whose turn it is gives one item and goes to the end. Not for several threads.

    Of R owners none waits longer than R - 1 items between two of its own, however many the others brought.
    Taking n items costs n steps, dropping an owner one, no matter how many wait.
    """

    def __init__(self) -> None:
        self._ring: OrderedDict[Owner, deque[Item]] = OrderedDict()  # no owner without items
        self._n_items = 0

    def __len__(self) -> int:
        return self._n_items

    def push(self, owner: Owner, items: Iterable[Item]) -> None:
        """The owner, who must not wait already, comes last in the ring; its items keep their order."""
        assert owner not in self._ring, "an owner comes once"
        waiting = deque(items)
        if waiting:
            self._ring[owner] = waiting
            self._n_items += len(waiting)

    def take(self, n_items: int) -> list[tuple[Owner, Item]]:
        """The next items, at most so many, going on where the last call stopped."""
        taken: list[tuple[Owner, Item]] = []
        ring = self._ring
        while ring and len(taken) < n_items:
            owner, waiting = ring.popitem(last=False)
            taken.append((owner, waiting.popleft()))
            if waiting:
                ring[owner] = waiting
        self._n_items -= len(taken)
        return taken

    def drop(self, owner: Owner) -> int:
        """Forget what this owner has left, and say how many items; fine when it has nothing."""
        n_dropped = len(self._ring.pop(owner, ()))
        self._n_items -= n_dropped
        return n_dropped

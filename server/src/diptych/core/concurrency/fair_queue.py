"""Give out the items of several owners in turns."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)
Item = TypeVar("Item")


class FairQueue(Generic[Owner, Item]):
    """A ring of owners: the first one gives one item and goes to the end. Not thread-safe.

    With R owners, none waits for more than R - 1 items between two of its own, however many the others
    brought. Taking n items costs n steps, dropping an owner one step, no matter how many items wait.
    """

    def __init__(self) -> None:
        self._ring: OrderedDict[Owner, deque[Item]] = OrderedDict()  # no owner without items
        self._n_items = 0

    def __len__(self) -> int:
        return self._n_items

    def push(self, owner: Owner, items: Iterable[Item]) -> None:
        """Append an owner, who must not be waiting already, to the ring; its items keep their order."""
        assert owner not in self._ring, "an owner comes once"
        waiting = deque(items)
        if waiting:
            self._ring[owner] = waiting
            self._n_items += len(waiting)

    def take(self, n_items: int) -> list[tuple[Owner, Item]]:
        """Return the next items, at most `n_items`, continuing where the last call stopped."""
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
        """Forget the remaining items of this owner and return their number, 0 if it has none."""
        n_dropped = len(self._ring.pop(owner, ()))
        self._n_items -= n_dropped
        return n_dropped

"""Give out the items of several owners in turns."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from diptych.core.concurrency.party import Party

Owner = TypeVar("Owner", bound=Hashable)
Item = TypeVar("Item")


class FairQueue(Generic[Owner, Item]):
    """A ring of parties, each with a ring of owners. Not thread-safe.

    The first party gives one item of its first owner; then both go to the end of their rings. With P parties,
    none waits for more than P - 1 items between two of its own, however many owners and items the others
    brought; so do the owners of one party among themselves. Taking n items costs n steps, dropping an owner
    one step, no matter how many items wait.
    """

    def __init__(self) -> None:
        self._ring: OrderedDict[Party, OrderedDict[Owner, deque[Item]]] = OrderedDict()  # none without items
        self._parties: dict[Owner, Party] = {}  # of the owners that wait
        self._n_items = 0

    def __len__(self) -> int:
        return self._n_items

    def push(self, owner: Owner, items: Iterable[Item], party: Party = "") -> None:
        """Append an owner, who must not be waiting already, to the ring of its party; its items keep their
        order.
        """
        assert owner not in self._parties, "an owner comes once"
        waiting = deque(items)
        if waiting:
            self._ring.setdefault(party, OrderedDict())[owner] = waiting
            self._parties[owner] = party
            self._n_items += len(waiting)

    def take(self, n_items: int) -> list[tuple[Owner, Item]]:
        """Return the next items, at most `n_items`, continuing where the last call stopped."""
        taken: list[tuple[Owner, Item]] = []
        ring = self._ring
        while ring and len(taken) < n_items:
            party, owners = ring.popitem(last=False)
            owner, waiting = owners.popitem(last=False)
            taken.append((owner, waiting.popleft()))
            if waiting:
                owners[owner] = waiting
            else:
                del self._parties[owner]
            if owners:
                ring[party] = owners
        self._n_items -= len(taken)
        return taken

    def drop(self, owner: Owner) -> int:
        """Forget the remaining items of this owner and return their number, 0 if it has none."""
        if owner not in self._parties:
            return 0
        party = self._parties.pop(owner)
        owners = self._ring[party]
        n_dropped = len(owners.pop(owner))
        if not owners:
            del self._ring[party]
        self._n_items -= n_dropped
        return n_dropped

"""Choose which waiting items make up the next batch."""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Generic, TypeVar

from diptych.core.concurrency.fair_queue import FairQueue, Tenant

Owner = TypeVar("Owner", bound=Hashable)
Item = TypeVar("Item")

SORTED_BATCHES = 3  # sorted together; saves two thirds of the padding that sorting the whole queue would save


class BatchQueue(Generic[Owner, Item]):
    """A queue in which tenants, and the owners of a tenant, take turns, one item each (see FairQueue).

    So neither a thousand items of one owner nor a thousand owners of one tenant starve others.

    A batch is padded to its largest item, so where `size_of` gives items a size, items of similar size should
    share a batch. Then owners give their smallest items first. Up to SORTED_BATCHES batches' worth is taken
    in turns, sorted by size, and cut into batches, smallest first. A draw delays the items in it, and those
    after it, by at most SORTED_BATCHES - 1 batches: nobody starves, whatever sizes others bring.
    """

    def __init__(self, max_batch_size: int, size_of: Callable[[Item], int] | None = None) -> None:
        self._max_batch_size = max_batch_size
        self._size_of = size_of
        is_padded = size_of is not None and max_batch_size > 1  # an item that is alone needs no padding
        self._n_to_draw = max_batch_size * (SORTED_BATCHES if is_padded else 1)
        self._waiting: FairQueue[Owner, tuple[int, int]] = FairQueue()  # size and index of each item
        self._next: deque[list[tuple[Owner, int]]] = deque()  # batches, of owners and indices

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._next))

    def push(self, owner: Owner, items: Sequence[Item], tenant: Tenant = "") -> None:
        """Add all items of one owner, who must not be waiting already."""
        if self._size_of is None:
            self._waiting.push(owner, ((0, index) for index in range(len(items))), tenant)
        else:
            by_size = sorted(zip(map(self._size_of, items), range(len(items)), strict=True))
            self._waiting.push(owner, by_size, tenant)

    def take(self) -> list[tuple[Owner, int]]:
        """Return the next batch as owners and indices of their items; empty when nothing waits."""
        if not self._next:
            self._draw()
        return self._next.popleft() if self._next else []

    def drop(self, owner: Owner) -> None:
        """Forget the remaining items of this owner, if there are any."""
        self._waiting.drop(owner)
        left = ([one for one in batch if one[0] is not owner] for batch in self._next)
        self._next = deque(filter(None, left))

    def _draw(self) -> None:
        drawn = self._waiting.take(self._n_to_draw)
        n_batches = -(-len(drawn) // self._max_batch_size)
        if n_batches > 1:
            drawn.sort(key=itemgetter(1))  # by size, then by index
        one_by_one = [(owner, index) for owner, (_, index) in drawn]
        ends = [len(drawn) * n // n_batches for n in range(n_batches + 1)] if drawn else [0]
        self._next.extend(one_by_one[begin:end] for begin, end in pairwise(ends))

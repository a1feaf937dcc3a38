"""Give out the items of several tenants, and of each tenant's owners, in turns.

A tenant is the API key whose requests and jobs share one turn in the queues.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)
Item = TypeVar("Item")


Tenant = str  # the prefix of a key; empty for calls without a key, and for the server's own work

_TENANT: ContextVar[Tenant] = ContextVar("tenant", default="")


@contextmanager
def acting_for(tenant: Tenant) -> Iterator[None]:
    """Count the work of the block, and of tasks that it starts, as that of a tenant."""
    token = _TENANT.set(tenant)
    try:
        yield
    finally:
        _TENANT.reset(token)


def current_tenant() -> Tenant:
    """The tenant whose work this task does."""
    return _TENANT.get()


class FairQueue(Generic[Owner, Item]):
    """A ring of tenants, each with a ring of owners. Not thread-safe.

    The first tenant gives one item of its first owner; then both go to the end of their rings. With T
    tenants, none waits for more than T - 1 items between two of its own, however many owners and items the
    others brought; so do the owners of one tenant among themselves. Taking n items costs n steps, dropping an
    owner one step, no matter how many items wait.
    """

    def __init__(self) -> None:
        self._ring: OrderedDict[Tenant, OrderedDict[Owner, deque[Item]]] = OrderedDict()  # none without items
        self._tenants: dict[Owner, Tenant] = {}  # of the owners that wait
        self._n_items = 0

    def __len__(self) -> int:
        return self._n_items

    def push(self, owner: Owner, items: Iterable[Item], tenant: Tenant = "") -> None:
        """Append an owner, who must not be waiting already, to the ring of its tenant; its items keep their
        order.
        """
        assert owner not in self._tenants, "an owner comes once"
        waiting = deque(items)
        if waiting:
            self._ring.setdefault(tenant, OrderedDict())[owner] = waiting
            self._tenants[owner] = tenant
            self._n_items += len(waiting)

    def take(self, n_items: int) -> list[tuple[Owner, Item]]:
        """Return the next items, at most `n_items`, continuing where the last call stopped."""
        taken: list[tuple[Owner, Item]] = []
        ring = self._ring
        while ring and len(taken) < n_items:
            tenant, owners = ring.popitem(last=False)
            owner, waiting = owners.popitem(last=False)
            taken.append((owner, waiting.popleft()))
            if waiting:
                owners[owner] = waiting
            else:
                del self._tenants[owner]
            if owners:
                ring[tenant] = owners
        self._n_items -= len(taken)
        return taken

    def drop(self, owner: Owner) -> int:
        """Forget the remaining items of this owner and return their number, 0 if it has none."""
        if owner not in self._tenants:
            return 0
        tenant = self._tenants.pop(owner)
        owners = self._ring[tenant]
        n_dropped = len(owners.pop(owner))
        if not owners:
            del self._ring[tenant]
        self._n_items -= n_dropped
        return n_dropped

"""The tenant of a piece of work: the API key whose requests and jobs share one turn in the queues."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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

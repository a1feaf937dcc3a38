"""Who shares one turn in the queues: all requests and jobs of one API key."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Party = str  # the prefix of a key; empty for calls without a key, and for the server's own work

_PARTY: ContextVar[Party] = ContextVar("party", default="")


@contextmanager
def acting_for(party: Party) -> Iterator[None]:
    """Count the work of the block, and of tasks that it starts, as that of a party."""
    token = _PARTY.set(party)
    try:
        yield
    finally:
        _PARTY.reset(token)


def current_party() -> Party:
    """Whose work this task does."""
    return _PARTY.get()

"""Who gives way when more connections are open than may be. Knows no socket."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

SETTLED_S = 0.5  # a head that was not there by then is not merely on its way
SLOW_BYTES_PER_S = 50_000.0  # a thousand bodies that keep this pace are a load, and bounded as one
CREDIT_BYTES = 10_000  # so that a body that is about to come does not count as the slowest


class Member(Protocol):
    """One connection that is open. Times are the event loop's."""

    def silent_since(self) -> float | None:
        """Since when its caller owes the next byte, with nothing inside for it."""

    def body_pace(self, now: float) -> float | None:
        """Bytes per second of a body that its caller owes the rest of."""


M = TypeVar("M", bound=Member)


def pace_of(n_bytes: int, seconds: float) -> float:
    """Bytes per second of a body since its head, a little ahead of what has come."""
    return (CREDIT_BYTES + n_bytes) / max(seconds, 1e-3)


def first_to_go(members: Sequence[M], now: float) -> M | None:
    """The one that has been silent longest, or else the slowest body; None when all must stay.

    A body that keeps SLOW_BYTES_PER_S stays, as what has come of it would be lost. One that has been silent
    for a moment only goes after the slow bodies: they may be there to keep it out.
    """
    silent = [(since, one) for one in members if (since := one.silent_since()) is not None]
    longest = min(silent, key=lambda pair: pair[0], default=None)
    if longest is not None and now - longest[0] >= SETTLED_S:
        return longest[1]
    bodies = [(pace, one) for one in members if (pace := one.body_pace(now)) is not None]
    slowest = min(bodies, key=lambda pair: pair[0], default=None)
    if slowest is not None and slowest[0] < SLOW_BYTES_PER_S:
        return slowest[1]
    return longest[1] if longest is not None else None

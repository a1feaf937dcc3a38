"""The images that are in the collection that changes; whoever takes one has it alone. Knows no request."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Stored:
    """One image that was acknowledged, and nothing changed since."""

    id: str
    payload: bytes


class Pool:
    """First in, first out, so that every image is asked for, and gone in the end."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self._kept: deque[Stored] = deque()
        self._n_named = 0
        self.deleted: set[str] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def name(self) -> str:
        """An id that was never given."""
        self._n_named += 1
        return f"s{self._n_named}"

    def take(self) -> Stored | None:
        """The one that was put back longest ago; None when there is none."""
        return self._kept.popleft() if self._kept else None

    def put(self, stored: Stored) -> None:
        """It is there, or there again."""
        self._kept.append(stored)

    def bury(self, stored: Stored) -> None:
        """It is gone for good, and that was acknowledged."""
        self.deleted.add(stored.id)

    def ids(self) -> set[str]:
        """Of all that are there and that nobody has taken."""
        return {stored.id for stored in self._kept}

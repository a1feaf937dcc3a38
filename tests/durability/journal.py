"""What a server has acknowledged, kept outside of it; knows nothing of HTTP.

Each collection has one writer, so at any moment at most one request for it is unanswered. After a kill the
collection is either as it was before that request or as it would be after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Metadata = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """One image as it must be found: its bytes and its metadata."""

    payload: bytes
    metadata: Metadata


Images = Mapping[str, Kept]  # by id
State = Images | None  # of one collection; None: there is none


@dataclass
class Journal:
    """Acknowledged states by collection, and what the unanswered request of each would make of it."""

    acknowledged: dict[str, State] = field(default_factory=dict)
    unanswered: dict[str, State] = field(default_factory=dict)
    n_acknowledged: int = 0

    def begin(self, collection: str, after: State) -> None:
        """A request goes out that leads to `after`."""
        self.unanswered[collection] = after

    def acknowledge(self, collection: str) -> None:
        """It was answered with success."""
        self.acknowledged[collection] = self.unanswered.pop(collection)
        self.n_acknowledged += 1

    def in_doubt(self, collection: str) -> set[str]:
        """Ids that the unanswered request was about."""
        before = self.acknowledged.get(collection) or {}
        after = self.unanswered.get(collection, before) or {}
        return {id for id in before.keys() | after.keys() if before.get(id) != after.get(id)}

    def settle(self, collection: str, found: State) -> None:
        """The server was started again: it must have what was acknowledged, and all or nothing beyond it."""
        before = self.acknowledged.get(collection)
        allowed = [before]
        if collection in self.unanswered:
            allowed.append(self.unanswered.pop(collection))
        if found not in allowed:
            told = [_difference(found, state) for state in allowed]
            raise AssertionError(f"{collection} is as no request has left it: {'; nor '.join(told)}")
        self.acknowledged[collection] = found


def _difference(found: State, promised: State) -> str:
    """For people: which ids are not as promised."""
    if found is None or promised is None:
        return f"found {'nothing' if found is None else 'a collection'}"
    lost, back = promised.keys() - found.keys(), found.keys() - promised.keys()
    other = {id for id in found.keys() & promised.keys() if found[id] != promised[id]}
    return f"lost {sorted(lost)}, came back {sorted(back)}, differ {sorted(other)}"

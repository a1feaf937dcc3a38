"""What a server has acknowledged, kept outside of it; knows nothing of HTTP.

Each collection has one writer, so at any moment at most one request for it is unanswered. After a kill the
collection is either as it was before that request or as it would be after it. It may be renamed: the journal
calls it by the name of its writer. A job that was accepted is a promise: it holds once all jobs have ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Metadata = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """One image as it must be found: its bytes and its metadata, and whether its file is kept.

    Of a ready-made vector the bytes are its numbers.
    """

    payload: bytes
    metadata: Metadata
    has_file: bool = True
    is_vector: bool = False


Images = Mapping[str, Kept]  # by id


@dataclass(frozen=True)
class Held:
    """One collection as it must be found."""

    name: str
    images: Images
    keep: str = "original"
    precision: str = "server"


State = Held | None  # of one collection; None: there is none


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
        held = self.acknowledged.get(collection)
        before, after = _images(held), _images(self.unanswered.get(collection, held))
        return {id for id in before.keys() | after.keys() if before.get(id) != after.get(id)}

    def payloads(self) -> list[bytes]:
        """All bytes that may be found; of some rows nothing but their sha256 is told."""
        states = [*self.acknowledged.values(), *self.unanswered.values()]
        return [kept.payload for state in states for kept in _images(state).values()]

    def finish_embedding(self, collection: str, found: State) -> None:
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
    has, should = found.images, promised.images
    lost, back = should.keys() - has.keys(), has.keys() - should.keys()
    other = {id for id in has.keys() & should.keys() if has[id] != should[id]}
    told = [f"{one.name} ({one.keep}, {one.precision})" for one in (found, promised)]
    named = f"is {told[0]} for {told[1]}"
    return f"{named}, lost {sorted(lost)}, came back {sorted(back)}, differ {sorted(other)}"


def _images(state: State) -> Images:
    return {} if state is None else state.images

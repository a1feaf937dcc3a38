"""A record of what a server has acknowledged, kept outside of the server.

Each collection has one writer, so at any moment at most one request for it is unanswered. After a kill the
collection is either as it was before that request or as it would be after it. It may be renamed: the journal
refers to it by the name of its writer. The images of an accepted job must exist once all jobs have ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Metadata = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """One image as a check must find it: bytes, metadata, and whether its file is kept.

    For an added vector, the bytes are those of its numbers.
    """

    payload: bytes
    metadata: Metadata
    has_file: bool = True
    is_vector: bool = False


Images = Mapping[str, Kept]  # by id


@dataclass(frozen=True)
class Held:
    """One collection as a check must find it."""

    name: str
    images: Images
    keep: str = "original"


State = Held | None  # of one collection; None: it does not exist


@dataclass
class Journal:
    """The acknowledged state of each collection, and its state if the unanswered request succeeded."""

    acknowledged: dict[str, State] = field(default_factory=dict)
    unanswered: dict[str, State] = field(default_factory=dict)
    n_acknowledged: int = 0

    def begin(self, collection: str, after: State) -> None:
        """Record that a request was sent which leads to the state `after`."""
        self.unanswered[collection] = after

    def acknowledge(self, collection: str) -> None:
        """Record that the request succeeded."""
        self.acknowledged[collection] = self.unanswered.pop(collection)
        self.n_acknowledged += 1

    def in_doubt(self, collection: str) -> set[str]:
        """Return the ids that the unanswered request affects."""
        held = self.acknowledged.get(collection)
        before, after = _images(held), _images(self.unanswered.get(collection, held))
        return {id for id in before.keys() | after.keys() if before.get(id) != after.get(id)}

    def payloads(self) -> list[bytes]:
        """Return all bytes that may be found. The API reports only the sha256 of some rows."""
        states = [*self.acknowledged.values(), *self.unanswered.values()]
        return [kept.payload for state in states for kept in _images(state).values()]

    def finish_embedding(self, collection: str, found: State) -> None:
        """Check the state after a restart: the acknowledged one, or that after the unanswered request."""
        before = self.acknowledged.get(collection)
        allowed = [before]
        if collection in self.unanswered:
            allowed.append(self.unanswered.pop(collection))
        if found not in allowed:
            told = [_difference(found, state) for state in allowed]
            raise AssertionError(f"{collection} is as no request has left it: {'; nor '.join(told)}")
        self.acknowledged[collection] = found


def _difference(found: State, promised: State) -> str:
    """Describe which ids differ from the expected state."""
    if found is None or promised is None:
        return f"found {'nothing' if found is None else 'a collection'}"
    has, should = found.images, promised.images
    lost, back = should.keys() - has.keys(), has.keys() - should.keys()
    other = {id for id in has.keys() & should.keys() if has[id] != should[id]}
    told = [f"{one.name} ({one.keep})" for one in (found, promised)]
    named = f"is {told[0]} for {told[1]}"
    return f"{named}, lost {sorted(lost)}, came back {sorted(back)}, differ {sorted(other)}"


def _images(state: State) -> Images:
    return {} if state is None else state.images

"""The snapshots that a server holds: the one that answers, the next one, and the one before."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from diptych.core.concurrency.shared import Shared
from diptych.core.serving.live_index import LiveIndex
from diptych.core.serving.version import Version
from diptych.core.types import ModelInfo


@dataclass(frozen=True, eq=False)
class Pair:
    """The vectors of one collection: the version that makes them, and the index that holds them."""

    shared_version: Shared[Version]
    shared_index: Shared[LiveIndex]

    @property
    def version(self) -> Version:
        """The version that makes the vectors."""
        return self.shared_version.value

    @property
    def index(self) -> LiveIndex:
        """The index of the vectors. Pairs of versions that make the same vectors share one."""
        return self.shared_index.value

    @property
    def model(self) -> ModelInfo:
        """The model that makes the vectors."""
        return self.version.model

    @property
    def identity(self) -> str:
        """The identity of the vectors."""
        return self.version.identity

    @contextmanager
    def use(self) -> Iterator["Pair"]:
        """Keep version and index open inside the block."""
        with self.shared_version.use(), self.shared_index.use():
            yield self


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that answers are made of. Its references never change; its indexes follow the writes.

    `pairs` are those of collections, by their number: a collection without one is not served. A collection
    that cannot follow a rollout keeps the pair that it had. `generation` is raised by each switch.
    """

    shared_version: Shared[Version]
    generation: int = 0
    pairs: Mapping[int, Pair] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version for requests that name no collection."""
        return self.shared_version.value

    def share(self) -> "Shared[Snapshot]":
        """The snapshot as an owner of its parts, until the last use of it has ended."""
        for part in self._parts():
            part.retain()
        return Shared(self, Snapshot._release)

    def _release(self) -> None:
        for part in self._parts():
            part.release()

    def _parts(self) -> list[Shared[Version] | Shared[LiveIndex]]:
        shared = [(pair.shared_version, pair.shared_index) for pair in self.pairs.values()]
        return [self.shared_version, *(part for parts in shared for part in parts)]


class Serving:
    """Holds the snapshots. Changed inside writes only (see SerialWriteQueue), without awaiting in between.

    `current` answers requests; `next` is being filled by a rollout; `previous` is kept for a rollback. Each
    write reaches the indexes of all three.
    """

    def __init__(
        self, version: Shared[Version], on_switch: Callable[[ModelInfo], object] = lambda model: None
    ) -> None:
        """Serve `version`, for no collection yet. `on_switch` is called with the model that serves, now and
        after each switch.
        """
        self._current = Snapshot(version).share()
        self._next: Shared[Snapshot] | None = None
        self._previous: Shared[Snapshot] | None = None
        self._on_switch = on_switch
        version.release()  # the snapshot owns it
        on_switch(version.value.model)

    @property
    def current(self) -> Snapshot:
        """The snapshot that answers, for what does not await: else see `use`."""
        return self._current.value

    @property
    def next(self) -> Snapshot | None:
        """The snapshot that a rollout builds."""
        return None if self._next is None else self._next.value

    @property
    def previous(self) -> Snapshot | None:
        """The snapshot that answered before the last switch."""
        return None if self._previous is None else self._previous.value

    @contextmanager
    def use(self) -> Iterator[Snapshot]:
        """The snapshot that answers now, which stays open inside the block, whatever is switched."""
        with self._current.use() as snapshot:
            yield snapshot

    def pairs(self, number: int) -> list[Pair]:
        """The pairs of a collection, the current one first."""
        found = (one.pairs.get(number) for one in (self.current, self.next, self.previous) if one is not None)
        return [pair for pair in found if pair is not None]

    def indexes(self, number: int) -> list[LiveIndex]:
        """The indexes of a collection, each once, the current one first."""
        return list(dict.fromkeys(pair.index for pair in self.pairs(number)))

    def holds(self, number: int, pair: Pair) -> bool:
        """Whether a snapshot still has this pair of a collection, so that it is open."""
        return any(one.version is pair.version and one.index is pair.index for one in self.pairs(number))

    def next_pair(self, number: int) -> Pair | None:
        """The pair that a rollout fills for a collection, unless searches use its index already."""
        pair, current = None if self.next is None else self.next.pairs.get(number), self.current.pairs
        return None if pair is None or pair.index is (number in current and current[number].index) else pair

    def set_current(self, number: int, pair: Pair) -> None:
        """Answer for a collection with this pair."""
        self._current = _replaced(self._current, {**self.current.pairs, number: pair})

    def set_next(self, number: int, pair: Pair | None) -> None:
        """Let the next snapshot have this pair of a collection, or none."""
        assert self._next is not None, "begun before"
        self._next = _replaced(self._next, _with(self._next.value.pairs, number, pair))

    def set_previous(self, number: int, pair: Pair) -> None:
        """Keep this pair of a collection for a rollback."""
        assert self._previous is not None, "kept before"
        self._previous = _replaced(self._previous, {**self._previous.value.pairs, number: pair})

    def remove(self, number: int) -> None:
        """Let no snapshot have a pair of the collection."""
        self._current = _replaced(self._current, _with(self.current.pairs, number, None))
        if self._next is not None:
            self._next = _replaced(self._next, _with(self._next.value.pairs, number, None))
        if self._previous is not None:
            self._previous = _replaced(self._previous, _with(self._previous.value.pairs, number, None))

    def begin(self, version: Shared[Version]) -> None:
        """Begin the next snapshot, of this version, without collections."""
        self.abandon()
        self._next = Snapshot(version, self.current.generation + 1).share()

    def begin_again(self) -> None:
        """Empty the next snapshot, if there is one."""
        if self._next is not None:
            version = self._next.value.shared_version
            emptied = Snapshot(version, self._next.value.generation).share()
            self._next.release()
            self._next = emptied

    def keep(self, version: Shared[Version]) -> None:
        """Begin to keep this version for a rollback, without collections."""
        self.drop_previous()
        self._previous = Snapshot(version, self.current.generation).share()

    def abandon(self) -> None:
        """Drop the next snapshot."""
        if self._next is not None:
            self._next.release()
            self._next = None

    def drop_previous(self) -> None:
        """Keep nothing for a rollback."""
        if self._previous is not None:
            self._previous.release()
            self._previous = None

    def switch(self) -> None:
        """Answer with the next snapshot, which takes over the pairs of collections that it lacks.

        The one that answered until now is kept for a rollback, with what its own version made, if another
        version answers from now on.
        """
        assert self._next is not None, "begun before"
        former, next = self.current, self._next.value
        if next.version is not former.version:
            own = {number: pair for number, pair in former.pairs.items() if pair.version is former.version}
            kept = replace(former, pairs=own).share()
            self.drop_previous()
            self._previous = kept
        answering = replace(next, pairs={**former.pairs, **next.pairs}).share()
        self._current.release()
        self._current = answering
        self.abandon()
        self._on_switch(answering.value.version.model)


def _with(pairs: Mapping[int, Pair], number: int, pair: Pair | None) -> Mapping[int, Pair]:
    others = {one: kept for one, kept in pairs.items() if one != number}
    return others if pair is None else {**others, number: pair}


def _replaced(shared: Shared[Snapshot], pairs: Mapping[int, Pair]) -> Shared[Snapshot]:
    """A sibling with other pairs. What the former one has alone is closed once its last use has ended."""
    sibling = replace(shared.value, pairs=pairs).share()
    shared.release()
    return sibling

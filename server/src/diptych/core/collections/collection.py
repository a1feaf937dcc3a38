"""One collection in memory: its indexes, its counts and its state."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from diptych.core.collections.indexed_vectors import IndexedVectors
from diptych.core.ports import Metrics
from diptych.core.types import CollectionInfo, CollectionState, Embeddings, Keep, NewRow, VersionRef
from diptych.errors import Conflict, NotFound, NotReady

Found = TypeVar("Found")


class PipelineChanged(Exception):
    """The collection has moved to another identity since these rows were embedded: nothing was stored."""


@dataclass(eq=False)
class LoadedCollection:
    """A collection and its vectors.

    `current` answers searches; None while there is none that has all images, or nothing here makes such
    vectors (`reason`). `next` is being filled by a rollout, `previous` is kept for a rollback: both see every
    change, and get the vectors of added images a little later. Changed by one write at a time (see
    SerialWriteQueue).
    """

    name: str
    model: str
    created_at: str
    metrics: Metrics
    n_images: int
    keep: Keep = "original"
    current: IndexedVectors | None = None
    next: IndexedVectors | None = None
    previous: IndexedVectors | None = None
    made_by: VersionRef | None = None  # the version of its stored vectors, if it cannot be loaded
    can_move: bool = True  # a rollout can embed its images, if it has no vectors that are served
    stays: str = ""  # why it does not follow the version that the server serves
    reason: str = ""  # why it is not served, or why embedding ended early
    n_expected: int = 0  # while loading: images it will have; searches wait for them
    shows_part: bool = False  # searches see what `current` has: nothing will embed what it lacks
    dropped: bool = False
    n_renames: int = 0
    n_replacements: int = 0  # changes that replaced images, counted before the indexes have them
    _renamed: asyncio.Event | None = None  # while a rename is under way: set at its end

    @property
    def writing(self) -> IndexedVectors | None:
        """The vectors that are made of added images before they are acknowledged."""
        return self.current or self.next

    @property
    def all_vectors(self) -> list[IndexedVectors]:
        """All vectors that are open."""
        return [one for one in (self.current, self.next, self.previous) if one is not None]

    def n_bytes(self, vectors: IndexedVectors) -> int:
        """The bytes of these vectors in memory."""
        return 4 * vectors.model.embed_dim * (self.n_images - len(vectors.unindexed))

    @property
    def state(self) -> CollectionState:
        """What callers may do with it: see CollectionInfo."""
        if self.writing is None and not self.can_move:
            return "unserved"
        if self.current is None or (self.current.pending and not self.shows_part):
            return "embedding"
        return "ready"

    def info(self) -> CollectionInfo:
        """What callers may know about the collection."""
        vectors = self.writing
        return CollectionInfo(
            name=self.name,
            model=self.model,
            n_images=self.n_images,
            created_at=self.created_at,
            keep=self.keep,
            state=self.state,
            n_embedded=0 if vectors is None else self.n_images - len(vectors.unindexed),
            reason="" if self.state == "ready" else self.reason,
            stays=self.stays,
            identity=None if self.current is None else self.current.identity,
            previous_identity=None if self.previous is None else self.previous.identity,
        )

    def require_served(self) -> IndexedVectors:
        """Return the vectors that added images get.

        Raises Conflict if nothing here makes such vectors, NotReady until a rollout does.
        """
        if self.writing is not None:
            return self.writing
        if self.can_move:
            raise NotReady(self._progress())
        raise Conflict(
            f"collection {self.name!r} has vectors of model {self.model!r} and no images that could be "
            f"embedded again, so that it can be read and deleted from only: {self.reason}"
        )

    def require_searchable(self) -> IndexedVectors:
        """Return the vectors to search. Raises unless a search would see every image.

        Raises Conflict as `require_served`; NotReady while images are loaded or embedded.
        """
        vectors = self.require_served()
        if self.state == "embedding":
            raise NotReady(self._progress())
        if self.n_images < self.n_expected:
            raise NotReady(
                f"collection {self.name!r} is being loaded: {self.n_images} of {self.n_expected} images done"
            )
        return vectors

    def require_embedded(self) -> IndexedVectors:
        """Return its vectors, once every image was tried. Until then it is unknown which cannot be found.

        Raises Conflict as `require_served`; NotReady while images are embedded.
        """
        vectors = self.require_served()
        if self.state == "embedding" or vectors.pending:
            raise NotReady(f"{self._progress()}; which images cannot be found is not known yet")
        return vectors

    def require_rows_of_pipeline(self, rows: Sequence[NewRow]) -> str:
        """Return the identity of added vectors. Raises PipelineChanged unless all rows have it."""
        identity = "" if self.writing is None else self.writing.identity
        if any(row.pipeline_identity != identity for row in rows):
            raise PipelineChanged
        return identity

    def require_not_dropped(self) -> None:
        """Raise NotFound if the collection was dropped since it was looked up."""
        if self.dropped:
            raise NotFound(f"collection {self.name!r} was dropped")

    @contextmanager
    def renaming(self) -> Iterator[None]:
        """Wrap a rename in the store; readers wait until the new name is set here, too."""
        self._renamed = renamed = asyncio.Event()
        try:
            yield
        finally:
            self._renamed = None
            renamed.set()

    def rename(self, name: str) -> None:
        """Set the name that the store uses now."""
        if name != self.name:
            self.name, self.n_renames = name, self.n_renames + 1

    async def read(self, ask: Callable[[str], Awaitable[Found]]) -> Found:
        """Return what `ask` reads from the store for this collection, whatever its name is at that moment.

        The store may have renamed it already, before this object was, and may even have given the old name to
        another collection since. Raises NotFound once it is dropped, and what `ask` raises.
        """
        while True:
            self.require_not_dropped()
            n_renames = self.n_renames
            try:
                found = await ask(self.name)
            except NotFound:
                if self._renamed is not None:
                    await self._renamed.wait()
                self.require_not_dropped()
                if n_renames == self.n_renames:
                    raise
                continue
            self.require_not_dropped()
            if n_renames == self.n_renames:
                return found

    async def change(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Take images `removed` out and put `keys` with their embeddings (N, D) in, as one change.

        The store has changed already, so the images are counted even if the index refuses them.
        """
        self.n_replacements += bool(keys and removed)
        writing = self.writing
        try:
            if writing is not None:
                await writing.change(removed, keys, rows)
        finally:
            for vectors in self.all_vectors:
                if vectors is not writing:
                    await vectors.follow(removed, keys)
            self.n_images += len(keys) - len(removed)
            self.report_metrics()

    def switch(self, *, keeps_previous: bool) -> list[IndexedVectors]:
        """Answer searches with `next` from now on. Returns the vectors that nothing refers to any more."""
        assert self.next is not None, "filled before"
        former, older = self.current, self.previous
        self.current, self.next, self.previous, self.reason = self.next, None, None, ""
        self.model = self.current.model.name
        if keeps_previous and former is not None:
            self.previous, former.was_current = former, True
            return [] if older is None else [older]
        return [one for one in (former, older) if one is not None]

    def stay(self, reason: str) -> None:
        """Note why it cannot follow the version that the server serves."""
        self.stays = reason
        if self.writing is None:
            self.can_move = False

    def report_metrics(self) -> None:
        """Report the size and the recall."""
        recall = 1.0 if self.writing is None else self.writing.index.recall
        self.metrics.set_collection(self.name, None if self.dropped else self.n_images, recall)

    def _progress(self) -> str:
        info = self.info()
        because = f" ({self.reason})" if self.reason else ""
        return (
            f"collection {self.name!r} is being embedded for this model version: "
            f"{info.n_embedded} of {info.n_images} images done{because}"
        )

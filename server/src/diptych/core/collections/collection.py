"""One collection in memory: its indexes, its counts and its state."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from diptych.core.collections.indexed_vectors import IndexedVectors
from diptych.core.ports import Metrics
from diptych.core.types import SERVER, CollectionInfo, CollectionState, Embeddings, Keep, NewRow, VersionRef
from diptych.errors import Conflict, NotFound, NotReady

Found = TypeVar("Found")


class PipelineChanged(Exception):
    """The collection has moved to another identity since these rows were embedded: nothing was stored."""


@dataclass(eq=False)
class LoadedCollection:
    """A collection and its vectors.

    `current` answers searches; None while there is none that has all images, or its version is not at hand
    (`reason`). `next` is being filled by a rollout, `previous` is kept for a rollback: both see every change,
    and get the vectors of added images a little later. Changed by one write at a time (see SerialWriteQueue).
    """

    name: str
    model: str
    created_at: str
    metrics: Metrics
    n_images: int
    keep: Keep = "original"
    precision: str = SERVER
    current: IndexedVectors | None = None
    next: IndexedVectors | None = None
    previous: IndexedVectors | None = None
    unserved: CollectionState = "other_model"  # the state while it has neither `current` nor `next`
    made_by: VersionRef | None = None  # the version of its stored vectors, if it cannot be loaded
    stays: str = ""  # why it does not follow the active version of its model
    reason: str = ""  # why it is not served, or why filling `current` ended early
    n_expected: int = 0  # while loading: images it will have; searches wait for them
    may_lag: bool = False  # searches see what `current` has, although images are still to be embedded
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
        vectors = self.writing
        if vectors is None:
            return self.unserved
        if self.current is None or (vectors.pending and not self.may_lag):
            return "failed" if self.reason else "embedding"
        return "other_version" if vectors.without_image else "ready"

    def info(self) -> CollectionInfo:
        """What callers may know about the collection."""
        vectors, state = self.writing, self.state
        return CollectionInfo(
            name=self.name,
            model=self.model,
            n_images=self.n_images,
            created_at=self.created_at,
            keep=self.keep,
            precision=self.precision,
            state=state,
            n_embedded=0 if vectors is None else self.n_images - len(vectors.unindexed),
            reason=self._without_image_reason(vectors)
            if state == "other_version" and vectors is not None
            else self.reason,
            stays=self.stays,
            identity=None if self.current is None else self.current.identity,
            previous_identity=None if self.previous is None else self.previous.identity,
        )

    def require_served(self) -> IndexedVectors:
        """Return the vectors that added images get. Raises Conflict if these are not served."""
        if self.writing is not None:
            return self.writing
        if self.unserved == "no_precision":
            raise Conflict(
                f"collection {self.name!r} has vectors of precision {self.precision}: {self.reason}"
            )
        if self.unserved == "failed":
            raise NotReady(f"collection {self.name!r} {self._failure()}")
        if self.unserved == "embedding":
            raise NotReady(self._progress())
        because = f": {self.reason}" if self.reason else ""
        raise Conflict(
            f"collection {self.name!r} belongs to model {self.model!r}, which is not served here{because}; "
            f"`diptych collections configure {self.name} --model NAME` moves it to a model that is"
        )

    def require_searchable(self) -> IndexedVectors:
        """Return the vectors to search. Raises unless a search would see every image.

        Raises Conflict as `require_served`, and if there are rows without an image, whose vectors are of
        another version: waiting would not help. Raises NotReady while images are loaded or embedded, or after
        that ended early.
        """
        vectors, state = self.require_served(), self.state
        if state == "other_version":
            raise Conflict(
                f"collection {self.name!r} cannot be searched: {self._without_image_reason(vectors)}"
            )
        if state == "embedding":
            raise NotReady(self._progress())
        if state == "failed":
            raise NotReady(f"collection {self.name!r} {self._failure()}")
        if self.n_images < self.n_expected:
            raise NotReady(
                f"collection {self.name!r} is being loaded: {self.n_images} of {self.n_expected} images done"
            )
        return vectors

    def require_embedded(self) -> IndexedVectors:
        """Return its vectors, once every image was tried. Until then it is unknown which cannot be found.

        Raises Conflict as `require_served`; NotReady while images are embedded, or after that ended early.
        """
        vectors, state = self.require_served(), self.state
        if state == "embedding" or (vectors.pending and state != "failed"):
            raise NotReady(
                f"collection {self.name!r} is being embedded: which images cannot be found is not known yet"
            )
        if state == "failed":
            raise NotReady(
                f"collection {self.name!r} was not embedded completely ({self.reason}): which images "
                f"cannot be found is not known yet. {self._retry_hint()}"
            )
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
        self.may_lag = bool(self.current.pending)
        if keeps_previous and former is not None:
            self.previous, former.was_current = former, True
            return [] if older is None else [older]
        return [one for one in (former, older) if one is not None]

    def report_metrics(self) -> None:
        """Report the size and the recall."""
        recall = 1.0 if self.writing is None else self.writing.index.recall
        self.metrics.set_collection(self.name, None if self.dropped else self.n_images, recall)

    def _without_image_reason(self, vectors: IndexedVectors) -> str:
        return (
            f"{len(vectors.without_image)} of {self.n_images} rows keep no image and were made by another "
            "version or precision. Serve that again, or add them again, or delete them"
        )

    def _progress(self) -> str:
        info = self.info()
        return (
            f"collection {self.name!r} is being embedded for this model version: "
            f"{info.n_embedded} of {info.n_images} images done"
        )

    def _failure(self) -> str:
        return f"could not be embedded for this model version: {self.reason}. {self._retry_hint()}"

    def _retry_hint(self) -> str:
        return f"To try again, set its precision to {self.precision!r}, or start the server again"

"""Find the images of collections that are nearest to a vector."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from diptych.bundle.calibration import Calibration, QueryKind
from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.indexed_vectors import IndexedVectors
from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.ports import RecordStore
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.timing import noted
from diptych.core.types import Embedding, Hit, Keys, ModelInfo
from diptych.errors import InvalidValue

Found = TypeVar("Found")

ATTEMPTS = 3  # beside writes, before a search waits for its turn among them


@dataclass(frozen=True)
class SearchTarget:
    """A collection to search, without its images `without`.

    `vectors` are searched, whose pipeline made the query; None: those that the collection has now.
    """

    name: str
    vectors: IndexedVectors | None = None
    without: Sequence[str] = ()


@dataclass(frozen=True)
class OpenTarget:
    """A target whose collection was found."""

    collection: LoadedCollection
    vectors: IndexedVectors
    without: Sequence[str]


@dataclass(frozen=True)
class Judge:
    """Says how relevant the hits of one kind of query are, and leaves out those below `min_relevance`.

    `calibration` is that of the model; None where there is none, and relevance is unknown.
    """

    calibration: Calibration | None = None
    kind: QueryKind = "text"
    min_relevance: float | None = None

    def require_usable(self, model: ModelInfo) -> None:
        """Raise InvalidValue for a bound on a relevance that is unknown: ignoring it would be silent."""
        if self.min_relevance is None:
            return
        if self.calibration is None:
            raise InvalidValue(
                f"{model.ref} is not calibrated, so that hits have no relevance: "
                f"`diptych-train calibrate {model.ref}` does it",
                "min_relevance",
            )
        if (reason := self.calibration.without(self.kind)) is not None:
            raise InvalidValue(
                f"hits of {self.kind} queries have no relevance by {model.ref}: {reason}", "min_relevance"
            )

    def relevance(
        self, query: Embedding, cosines: Embedding, best: float, n_images: int
    ) -> list[float] | None:
        """The relevance of hits with these cosines (K,), as `Calibration.relevance`; None if unknown."""
        if self.calibration is None or not len(cosines):
            return None
        found = self.calibration.relevance(self.kind, query, cosines, best=best, n_images=n_images)
        return None if found is None else found.tolist()

    def passing(self, relevance: list[float] | None, n: int) -> int:
        """How many of the n hits are shown: relevance falls with the cosine, so they are the first ones."""
        if relevance is None or self.min_relevance is None:
            return n
        return sum(one >= self.min_relevance for one in relevance)


UNJUDGED = Judge()


class Finder:
    """Cosine search in one or more collections, filtered on metadata."""

    def __init__(self, records: RecordStore, write_queue: SerialWriteQueue) -> None:
        self._records = records
        self._write_queue = write_queue

    async def nearest(
        self,
        targets: Sequence[OpenTarget],
        query: Embedding,
        *,
        k: int,
        offset: int,
        filter: Filter | None,
        exact: bool = False,
        judge: Judge = UNJUDGED,
    ) -> list[Hit]:
        """Find at most k hits for a query (D,) after the first `offset`, best first; ties in order of adding.

        `judge` gives hits their relevance, among the images that pass the filter.

        All images that were acknowledged before the search began, and pass the filter, compete for the hits:
        one that is replaced meanwhile as the old or the new image. Store and index change one after the
        other, so a search beside such a change is repeated, and in the end runs between two writes. Raises
        NotFound once a collection is dropped, NotReady.
        """

        async def attempt() -> tuple[list[Hit], bool]:
            return await self._attempt(
                targets, query, k=k, offset=offset, filter=filter, exact=exact, judge=judge
            )

        for _ in range(ATTEMPTS):
            hits, is_complete = await attempt()
            if is_complete:
                return hits
        hits, _ = await self._write_queue.run(attempt())
        return hits

    async def _attempt(
        self,
        targets: Sequence[OpenTarget],
        query: Embedding,
        *,
        k: int,
        offset: int,
        filter: Filter | None,
        exact: bool,
        judge: Judge,
    ) -> tuple[list[Hit], bool]:
        """The hits, and whether index and store had the same images that may be found."""
        parts = await asyncio.gather(
            *(self._candidates(one, query, offset + k, filter, exact) for one in targets),
            return_exceptions=True,  # wait for all: the caller holds the vectors open until then
        )
        candidates = [raised_or(part) for part in parts]
        keys = np.concatenate([one.keys for one in candidates])
        cosines = np.concatenate([one.cosines for one in candidates])
        ranked = np.lexsort((keys, -cosines))  # keys are unique over all collections
        order = ranked[offset : offset + k]
        relevance = judge.relevance(
            query,
            cosines[order],
            best=float(cosines[ranked[0]]) if len(ranked) else 0.0,
            n_images=sum(one.n_compared for one in candidates),
        )
        order = order[: judge.passing(relevance, len(order))]
        page: list[int] = keys[order].tolist()
        with noted("metadata"):
            records = await self._records.by_key(page)
        hits = [
            Hit(
                records[key].id,
                float(cosine),
                None if relevance is None else relevance[rank],
                records[key].metadata,
                key,
                records[key].sha256,
                records[key].collection,
            )
            for rank, (key, cosine) in enumerate(zip(page, cosines[order], strict=True))
            if key in records
        ]
        return hits, len(hits) == len(page) and all(one.is_complete for one in candidates)

    async def _candidates(
        self, target: OpenTarget, query: Embedding, n: int, filter: Filter | None, exact: bool
    ) -> "Candidates":
        """The n best of one collection."""
        collection, vectors = target.collection, target.vectors
        n_replacements = collection.n_replacements
        allowed = await self._passing(collection, filter)
        left_out = await self._keys_of(collection, target.without)
        # A replaced image has a new key, which the index lacks yet, or has in place of the one read here.
        read_here = left_out if allowed is None else np.concatenate([allowed, left_out])
        is_ahead = bool((read_here > vectors.newest_key).any())
        # A dropped index is closed, so nothing may be awaited between these checks and the search.
        collection.require_not_dropped()
        with noted("index"):
            found, cosines = await vectors.index.search(query, n + len(left_out), allowed, exact=exact)
        is_behind = bool(len(read_here)) and collection.n_replacements != n_replacements
        ranks = np.flatnonzero(~np.isin(found, left_out))[:n]
        n_compared = (collection.n_images if allowed is None else len(allowed)) - len(left_out)
        return Candidates(found[ranks], cosines[ranks], n_compared, not is_ahead and not is_behind)

    async def _passing(self, collection: LoadedCollection, filter: Filter | None) -> Keys | None:
        """Keys that may be found, None for all. Reads the metadata of the whole collection."""
        if filter is None:
            return None
        with noted("filter"):
            return await collection.read(lambda name: self._records.matching_keys(name, filter))

    async def _keys_of(self, collection: LoadedCollection, ids: Sequence[str]) -> Keys:
        """Keys of the images with one of these ids."""
        keys = await collection.read(lambda name: self._records.keys(name, ids)) if ids else []
        return np.array(keys, np.int64)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best images of one collection: N keys with their cosines, best first."""

    keys: Keys
    cosines: Embedding  # (N,)
    n_compared: int  # images that pass the filter
    is_complete: bool  # index and store had the same images


def raised_or(found: Found | BaseException) -> Found:
    """What one of several calls returned. Raises what it raised."""
    if isinstance(found, BaseException):
        raise found
    return found

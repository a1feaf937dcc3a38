"""Find the images of collections that are nearest to a vector."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from diptych.core.collections.collection import Collection
from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.ports import Records
from diptych.core.relevance.relevance import Relevance
from diptych.core.serving.live_index import LiveIndex
from diptych.core.timing import noted
from diptych.core.types import Embedding, Hit, Keys

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class SearchTarget:
    """A collection to search, in this index, without its images `without`."""

    collection: Collection
    index: LiveIndex
    without: Sequence[str] = ()


@dataclass(frozen=True)
class Nearest:
    """Hits, best first. `is_complete`: store and indexes had the same images, so that none was missed."""

    hits: list[Hit]
    is_complete: bool


class Finder:
    """Cosine search in one or more collections, filtered on metadata."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def nearest(
        self,
        targets: Sequence[SearchTarget],
        query: Embedding,
        *,
        k: int,
        offset: int,
        filter: Filter | None,
        exact: bool = False,
        relevance: Relevance,
    ) -> Nearest:
        """Find at most k hits for a query (D,) after the first `offset`; ties in order of adding.

        `relevance` judges hits among the images that pass the filter. The indexes stay open until all of them
        have answered. Store and index change one after the other, so a search at the time of a change may
        miss an image. Raises NotFound once a collection is dropped.
        """
        parts = await asyncio.gather(
            *(self._candidates(one, query, offset + k, filter, exact) for one in targets),
            return_exceptions=True,  # wait for all: the caller holds the indexes open until then
        )
        candidates = [raised_or(part) for part in parts]
        keys = np.concatenate([one.keys for one in candidates])
        cosines = np.concatenate([one.cosines for one in candidates])
        ranked = np.lexsort((keys, -cosines))  # keys are unique over all collections
        order = ranked[offset : offset + k]
        judged = relevance.of(
            query,
            cosines[order],
            best=float(cosines[ranked[0]]) if len(ranked) else 0.0,
            n_images=sum(one.n_compared for one in candidates),
        )
        order = order[: relevance.n_shown(judged, len(order))]
        page: list[int] = keys[order].tolist()
        with noted("metadata"):
            records = await self._records.rows.by_key(page)
        hits = [
            Hit(
                records[key].id,
                float(cosine),
                None if judged is None else judged[rank],
                records[key].metadata,
                key,
                records[key].sha256,
                records[key].collection,
            )
            for rank, (key, cosine) in enumerate(zip(page, cosines[order], strict=True))
            if key in records
        ]
        return Nearest(hits, len(hits) == len(page) and all(one.is_complete for one in candidates))

    async def _candidates(
        self, target: SearchTarget, query: Embedding, n: int, filter: Filter | None, exact: bool
    ) -> "Candidates":
        """The n best of one collection."""
        collection, index = target.collection, target.index
        n_replacements = collection.n_replacements
        allowed = await self._passing(collection, filter)
        left_out = await self._keys_of(collection, target.without)
        # A replaced image has a new key, which the index lacks yet, or has in place of the one read here.
        read_here = left_out if allowed is None else np.concatenate([allowed, left_out])
        is_ahead = bool((read_here > index.newest_key).any())
        collection.require_not_dropped()
        with noted("index"):
            found, cosines = await index.vectors.search(query, n + len(left_out), allowed, exact=exact)
        is_behind = bool(len(read_here)) and collection.n_replacements != n_replacements
        ranks = np.flatnonzero(~np.isin(found, left_out))[:n]
        n_compared = (collection.n_images if allowed is None else len(allowed)) - len(left_out)
        return Candidates(found[ranks], cosines[ranks], n_compared, not is_ahead and not is_behind)

    async def _passing(self, collection: Collection, filter: Filter | None) -> Keys | None:
        """Keys that may be found, None for all. Reads the metadata of the whole collection."""
        if filter is None:
            return None
        with noted("filter"):
            return (await self._records.filtered.passing(collection.number, filter)).keys

    async def _keys_of(self, collection: Collection, ids: Sequence[str]) -> Keys:
        """Keys of the images with one of these ids."""
        keys = await self._records.rows.keys(collection.number, ids) if ids else []
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

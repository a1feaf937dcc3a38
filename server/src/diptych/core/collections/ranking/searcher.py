"""Search one collection: the port, and the searcher that asks a store and an index."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.ranking.fusion import are_among
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.ports import FilteredRows, FilterResolver, Rows
from diptych.core.serving.live_index import LiveIndex
from diptych.core.timing import noted
from diptych.core.types import Embedding, Keys, PassingKeys, WordMatches

NO_MATCHES = WordMatches(np.empty(0, np.int64), np.empty(0), change=0, n_indexed=0, n_images=0)


@dataclass(frozen=True, eq=False)
class SearchTarget:
    """A collection to search, in this index, without its images `without`.

    `matches` are its images that carry the words of the query, where words count.
    """

    collection: Collection
    index: LiveIndex
    without: Sequence[str] = ()
    matches: WordMatches | None = None


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best images of one collection: N keys with their cosines, best first."""

    keys: Keys
    cosines: Embedding  # (N,)
    n_compared: int  # images that pass the filter
    is_complete: bool  # index and store had the same images
    words: WordMatches = NO_MATCHES  # those of the target that may be hits


class Searcher(Protocol):
    """Finds the images of one collection that are nearest to a vector; a vector database can be one."""

    async def search(
        self, target: SearchTarget, query: Embedding, n: int, filter: Filter | None, *, exact: bool = False
    ) -> Candidates:
        """The n images with the largest cosine to a query (D,), among those that pass the filter.

        With `exact`, all are compared, even if the index finds a share of the nearest ones otherwise. Raises
        NotFound once the collection is dropped.
        """
        ...

    async def cosines(self, target: SearchTarget, query: Embedding, keys: Keys) -> dict[int, float]:
        """The cosines to a query (D,) of those images that are still there, by key."""
        ...


class IndexSearcher:
    """Satisfies Searcher with an index in memory, which follows the store a moment later."""

    def __init__(
        self,
        filtered: FilteredRows,
        rows: Rows,
        labels: FilterResolver,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        """`catch_up` lets indexes know what other servers have written."""
        self._catch_up = catch_up
        self._filtered = filtered
        self._labels = labels
        self._rows = rows

    async def search(
        self, target: SearchTarget, query: Embedding, n: int, filter: Filter | None, *, exact: bool = False
    ) -> Candidates:
        """Satisfies Searcher: the store says which rows pass, then the index finds the nearest of them."""
        collection, index, matches = target.collection, target.index, target.matches
        replaced_at = index.replaced_at
        passing = await self._passing(collection, filter)
        left_out = await self._keys_of(collection, target.without)
        allowed = None if passing is None else passing.keys
        # A replaced image has a new key, which the index lacks yet, or has in place of the one read here.
        reads = [left_out, *(one.keys for one in (passing, matches) if one is not None)]
        if reads:  # what they read of other servers' writes, the index must have too
            await self._catch_up()
        is_ahead = any(len(keys) and keys.max() > index.newest_key for keys in reads)
        collection.require_not_dropped()
        with noted("index"):
            found, cosines = await index.vectors.search(query, n + len(left_out), allowed, exact=exact)
        is_behind = any(one is not None and one.change < index.replaced_at for one in (passing, matches))
        is_behind |= bool(len(left_out)) and index.replaced_at != replaced_at
        ranks = np.flatnonzero(~np.isin(found, left_out))[:n]
        n_compared = (collection.n_images if allowed is None else len(allowed)) - len(left_out)
        if matches is not None:
            no_hits = [*left_out.tolist(), *index.unindexed]
            matches = await asyncio.to_thread(_searchable, matches, allowed, no_hits)
        is_complete = not is_ahead and not is_behind
        return Candidates(found[ranks], cosines[ranks], n_compared, is_complete, matches or NO_MATCHES)

    async def cosines(self, target: SearchTarget, query: Embedding, keys: Keys) -> dict[int, float]:
        """Satisfies Searcher: the index compares these rows only."""
        with noted("index"):
            found, cosines = await target.index.vectors.search(query, len(keys), np.sort(keys), exact=True)
        return dict(zip(found.tolist(), cosines.tolist(), strict=True))

    async def _passing(self, collection: Collection, filter: Filter | None) -> PassingKeys | None:
        """The rows that may be found, None for all. Reads the metadata of the whole collection."""
        if filter is None:
            return None
        with noted("filter"):
            resolved = await self._labels.resolved(collection.number, filter)
            return await self._filtered.passing(collection.number, resolved)

    async def _keys_of(self, collection: Collection, ids: Sequence[str]) -> Keys:
        """Keys of the images with one of these ids."""
        keys = await self._rows.keys(collection.number, ids) if ids else []
        return np.array(keys, np.int64)


def _searchable(matches: WordMatches, allowed: Keys | None, no_hits: Sequence[int]) -> WordMatches:
    """Those that pass the filter and are not among `no_hits`; slow for many, so call it in a thread."""
    is_hit = ~are_among(matches.keys, np.sort(np.array(no_hits, np.int64)))
    if allowed is not None:
        is_hit &= are_among(matches.keys, allowed)
    return replace(matches, keys=matches.keys[is_hit], scores=matches.scores[is_hit])

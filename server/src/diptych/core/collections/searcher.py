"""Search one collection: the port, and the searcher that asks a store and an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from diptych.core.collections.collection import Collection
from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.ports import FilteredRows, Rows
from diptych.core.serving.live_index import LiveIndex
from diptych.core.timing import noted
from diptych.core.types import Embedding, Keys, PassingKeys


@dataclass(frozen=True, eq=False)
class SearchTarget:
    """A collection to search, in this index, without its images `without`."""

    collection: Collection
    index: LiveIndex
    without: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best images of one collection: N keys with their cosines, best first."""

    keys: Keys
    cosines: Embedding  # (N,)
    n_compared: int  # images that pass the filter
    is_complete: bool  # index and store had the same images


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


class IndexSearcher:
    """Satisfies Searcher with an index in memory, which follows the store a moment later."""

    def __init__(self, filtered: FilteredRows, rows: Rows) -> None:
        self._filtered = filtered
        self._rows = rows

    async def search(
        self, target: SearchTarget, query: Embedding, n: int, filter: Filter | None, *, exact: bool = False
    ) -> Candidates:
        """Satisfies Searcher: the store says which rows pass, then the index finds the nearest of them."""
        collection, index = target.collection, target.index
        replaced_at = index.replaced_at
        passing = await self._passing(collection, filter)
        left_out = await self._keys_of(collection, target.without)
        allowed = None if passing is None else passing.keys
        # A replaced image has a new key, which the index lacks yet, or has in place of the one read here.
        read_here = left_out if allowed is None else np.concatenate([allowed, left_out])
        is_ahead = bool((read_here > index.newest_key).any())
        collection.require_not_dropped()
        with noted("index"):
            found, cosines = await index.vectors.search(query, n + len(left_out), allowed, exact=exact)
        is_behind = passing is not None and passing.change < index.replaced_at
        is_behind |= bool(len(left_out)) and index.replaced_at != replaced_at
        ranks = np.flatnonzero(~np.isin(found, left_out))[:n]
        n_compared = (collection.n_images if allowed is None else len(allowed)) - len(left_out)
        return Candidates(found[ranks], cosines[ranks], n_compared, not is_ahead and not is_behind)

    async def _passing(self, collection: Collection, filter: Filter | None) -> PassingKeys | None:
        """The rows that may be found, None for all. Reads the metadata of the whole collection."""
        if filter is None:
            return None
        with noted("filter"):
            return await self._filtered.passing(collection.number, filter)

    async def _keys_of(self, collection: Collection, ids: Sequence[str]) -> Keys:
        """Keys of the images with one of these ids."""
        keys = await self._rows.keys(collection.number, ids) if ids else []
        return np.array(keys, np.int64)

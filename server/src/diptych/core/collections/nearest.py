"""Find the images of collections that are nearest to a vector."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.ports import Rows
from diptych.core.collections.searcher import Candidates, Searcher, SearchTarget
from diptych.core.relevance.relevance import Relevance
from diptych.core.timing import noted
from diptych.core.types import Embedding, Hit, Keys

Found = TypeVar("Found")


@dataclass(frozen=True)
class Nearest:
    """Hits, best first. `is_complete`: store and indexes had the same images, so that none was missed."""

    hits: list[Hit]
    is_complete: bool


class Finder:
    """Cosine search in one or more collections, filtered on metadata."""

    def __init__(self, searcher: Searcher, rows: Rows) -> None:
        """`rows` describes what `searcher` finds."""
        self._searcher = searcher
        self._rows = rows

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
            *(self._searcher.search(one, query, offset + k, filter, exact=exact) for one in targets),
            return_exceptions=True,  # wait for all: the caller holds the indexes open until then
        )
        candidates = [raised_or(part) for part in parts]
        keys = np.concatenate([one.keys for one in candidates])
        cosines = np.concatenate([one.cosines for one in candidates])
        ranked = _ranked(candidates, keys)
        order = ranked[offset : offset + k]
        judged = relevance.of(
            query,
            cosines[order],
            best=float(cosines[ranked[0]]) if len(ranked) else 0.0,
            n_images=sum(one.n_compared for one in candidates),
        )
        if judged is not None:
            shown = relevance.shown(judged)
            order, judged = order[shown], [judged[rank] for rank in shown]
        page: list[int] = keys[order].tolist()
        with noted("metadata"):
            records = await self._rows.by_key(page)
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


def _ranked(candidates: Sequence[Candidates], keys: Keys) -> Keys:
    """The order of the hits of all collections: N of N.

    Each collection keeps its own order, in which an approximate index has a hit after others with lower
    cosines if it found the hit late: by its cosine it would be on a page that was shown already.
    """
    places = np.concatenate([np.arange(len(one.keys)) for one in candidates])
    bounds = np.concatenate([np.minimum.accumulate(one.cosines) for one in candidates])
    return np.lexsort((keys, places, -bounds)) if len(candidates) > 1 else places


def raised_or(found: Found | BaseException) -> Found:
    """Return the result of one of several calls, or raise its exception."""
    if isinstance(found, BaseException):
        raise found
    return found

"""Find the images of collections that are nearest to a vector, or that carry words."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.ranking.fusion import N_FUSED, Match, are_among
from diptych.core.collections.ranking.ranking import ranking_of
from diptych.core.collections.ranking.searcher import Candidates, Searcher, SearchTarget
from diptych.core.collections.stored.ports import Rows
from diptych.core.relevance.relevance import Relevance
from diptych.core.timing import noted
from diptych.core.types import Embedding, Hit, Keys, MatchedBy
from diptych.errors import NotReady, StoreReadOnly

Found = TypeVar("Found")


@dataclass(frozen=True)
class Nearest:
    """Hits, best first. `is_complete`: store and indexes had the same images, so that none was missed.

    `words_incomplete`: the words of some images are not indexed yet, so that these find no image.
    """

    hits: list[Hit]
    is_complete: bool
    words_incomplete: bool = False


@dataclass(frozen=True)
class _Shown:
    """An image that is shown, before its record is read."""

    key: int
    cosine: float
    relevance: float | None
    matched: tuple[MatchedBy, ...]


class Finder:
    """Search by cosine and by words in one or more collections, filtered on metadata."""

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
        match: Match = "meaning",
    ) -> Nearest:
        """Find at most k hits for a query (D,) after the first `offset`; ties in order of adding.

        Targets have matches unless `match` is "meaning". `relevance` judges hits among the images that pass
        the filter, and leaves out those below `min_relevance` that do not carry the words. The indexes stay
        open until all of them have answered. Store and index change one after the other, so a search at the
        time of a change may miss an image. Raises NotFound once a collection is dropped, and NotReady or
        StoreReadOnly where words alone are searched and those of some images are not indexed.
        """
        end = offset + k
        n = {"meaning": end, "both": max(end, N_FUSED), "words": 1}[match]  # the best one judges the others
        candidates = await _all(self._searcher.search(one, query, n, filter, exact=exact) for one in targets)
        if match == "words":
            _require_indexed(targets, candidates)
        ranking = ranking_of(candidates, query, relevance)
        order = ranking.first(end, match)[offset:]
        cosines = dict(zip(ranking.near.tolist(), ranking.cosines.tolist(), strict=True))
        cosines |= await self._cosines(targets, candidates, query, order[~np.isin(order, ranking.near)])
        page = [key for key in order.tolist() if key in cosines]
        judged = ranking.judged([cosines[key] for key in page])
        carriers = set(ranking.carriers[are_among(ranking.carriers, np.sort(order))].tolist())
        shown = [
            _Shown(
                key, cosines[key], one, _matched(key in carriers, match != "words" and relevance.fits(one))
            )
            for key, one in zip(page, judged, strict=True)
            if key in carriers or relevance.shows(one)
        ]
        hits = await self._hits(shown)
        is_complete = len(page) == len(order) and len(hits) == len(shown)
        return Nearest(
            hits,
            is_complete and all(one.is_complete for one in candidates),
            any(one.words.n_indexed < one.words.n_images for one in candidates),
        )

    async def _cosines(
        self, targets: Sequence[SearchTarget], candidates: Sequence[Candidates], query: Embedding, keys: Keys
    ) -> dict[int, float]:
        """The cosines of images that only words have found, by key; of those that are still there."""
        keys = np.sort(keys)
        parts = [one.words.keys[are_among(one.words.keys, keys)] for one in candidates]
        found = await _all(
            self._searcher.cosines(target, query, part)
            for target, part in zip(targets, parts, strict=True)
            if len(part)
        )
        return {key: cosine for one in found for key, cosine in one.items()}

    async def _hits(self, shown: Sequence[_Shown]) -> list[Hit]:
        """Those that are still there, with their records."""
        with noted("metadata"):
            records = await self._rows.by_key([one.key for one in shown])
        return [
            Hit(
                record.id,
                one.cosine,
                one.relevance,
                record.metadata,
                one.key,
                record.sha256,
                record.collection,
                matched=one.matched,
            )
            for one in shown
            if (record := records.get(one.key)) is not None
        ]


async def _all(calls: Iterable[Coroutine[Any, Any, Found]]) -> list[Found]:
    """The results of all calls, or an error once all have ended: the indexes stay open until then."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [raised_or(result) for result in results]


def raised_or(found: Found | BaseException) -> Found:
    """Return the result of one of several calls, or raise its exception."""
    if isinstance(found, BaseException):
        raise found
    return found


def _require_indexed(targets: Sequence[SearchTarget], candidates: Sequence[Candidates]) -> None:
    for target, one in zip(targets, candidates, strict=True):
        if one.words.n_indexed >= one.words.n_images:
            continue
        progress = (
            f"the words of {one.words.n_indexed:,} of {one.words.n_images:,} images of collection "
            f"{target.collection.name!r} are indexed"
        )
        if target.collection.read_only:
            raise StoreReadOnly(
                f"{progress}, and this server is read-only: start a server once that may write, until all "
                "are, or search with match meaning or both"
            )
        raise NotReady(f"{progress}: until all are, search with match meaning or both")


def _matched(has_words: bool, fits: bool) -> tuple[MatchedBy, ...]:
    matched: dict[MatchedBy, bool] = {"words": has_words, "meaning": fits}
    return tuple(by for by, holds in matched.items() if holds)

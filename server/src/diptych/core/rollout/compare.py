"""Compare the results of a version with those of the version that serves, before the switch."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np

from diptych.bundle.manifest import COSINE_BOUNDS
from diptych.core.collections.service import Collections
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.ports import Rows, VectorRows
from diptych.core.collections.upkeep.reembed import Pace
from diptych.core.labels.ports import LabelRows
from diptych.core.rollout.compared_labels import LabelComparer
from diptych.core.rollout.comparison import (
    ChangedQuery,
    CollectionComparison,
    ComparedVectors,
    Comparison,
    unmet_by,
)
from diptych.core.rollout.overlap import (
    ComparedHits,
    ComparedQuery,
    compare_hits,
    mean_overlap,
    most_changed,
    sample,
)
from diptych.core.rollout.pacing import EncoderShare
from diptych.core.rollout.text_vectors import text_vectors
from diptych.core.serving.live_index import LiveIndex
from diptych.core.serving.snapshot import Pair, Serving
from diptych.core.serving.versions import Versions
from diptych.core.types import ImageRecord, Keys
from diptych.errors import Conflict, InvalidValue, NotFound

Moving = tuple[Collection, Pair]  # a collection with its vectors in the next snapshot
# Collections that move -> what the next snapshot would change.
Compare = Callable[[Sequence[Moving]], Awaitable[Comparison]]

MAX_SAMPLED = 100  # images of one collection that are used as queries, and as many of their names
MAX_SAMPLED_IN_ALL = 2_000
MIN_SAMPLED = 10
MAX_SEARCH_S = 30.0  # a million images are searched in some tenths of a second
MAX_SHOWN = 20  # queries of one collection that change most
MAX_SHOWN_IN_ALL = 200
MAX_NAME_CHARS = 200
_HASH = re.compile(r"[0-9a-f]{32}")  # of an image that was added without an id


@dataclass(frozen=True, eq=False)
class _Sides:
    """The vectors of one collection that are compared."""

    collection: Collection
    old: Pair | None
    new: Pair


class Comparer:
    """Compares two kinds of vectors of collections, one comparison at a time, giving way to requests.

    Queries are sampled images of the collection, and their names. Labels are those of reviewed images.
    """

    def __init__(
        self,
        *,
        serving: Serving,
        collections: Collections,
        rows: Rows,
        vectors: VectorRows,
        labels: LabelRows,
        versions: Versions,
        min_overlap: float | None = None,
        max_search_s: float = MAX_SEARCH_S,
    ) -> None:
        """`min_overlap`: see `unmet_by`. `max_search_s`: of the searches in one collection, after which the
        remaining queries are left out.
        """
        self._serving = serving
        self._collections = collections
        self._rows = rows
        self._vectors = vectors
        self._compare_labels = LabelComparer(labels, vectors)
        self._versions = versions
        self._min_overlap = min_overlap
        self._max_search_s = max_search_s
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, moving: Sequence[Moving]) -> Comparison:
        """Compare the vectors of the collections in the next snapshot with those that answer.

        Raises NotReady, EncoderFailed, StoreError.
        """
        return await self._compare([_Sides(collection, collection.pair, pair) for collection, pair in moving])

    async def versions(
        self, old: tuple[str, int], new: tuple[str, int], collection: str | None = None
    ) -> Comparison:
        """Compare two versions, each a name and a number, in one collection, or in all that have both.

        A collection has vectors of the version that serves it, of the one before if that is kept, and of the
        one of the rollout under way. Raises NotFound for the collection, Conflict where no collection has
        both, InvalidValue for the same version twice, and as `__call__`.
        """
        if old == new:
            raise InvalidValue("compare a version with another one", "against")
        chosen = list(self._collections) if collection is None else [self._collections[collection]]
        compared = [
            _Sides(one, old_pair, new_pair)
            for one in chosen
            if (old_pair := self._pair_of(one, old)) is not None
            and (new_pair := self._pair_of(one, new)) is not None
        ]
        if not compared:
            where = "no collection has" if collection is None else f"collection {collection!r} does not have"
            raise Conflict(
                f"{where} vectors of {_named(old)} and of {_named(new)} at once: a collection has those of "
                "the version that serves it, of the one that served before, if that is kept, and of the one "
                "that a rollout moves it to"
            )
        return await self._compare(compared)

    def _pair_of(self, collection: Collection, version: tuple[str, int]) -> Pair | None:
        pairs = self._serving.pairs(collection.number)
        return next((one for one in pairs if (one.model.name, one.model.version) == version), None)

    async def _compare(self, compared: Sequence[_Sides]) -> Comparison:
        found = []
        async with self._one_at_a_time:
            pace = EncoderShare(self._versions.busy_s)
            for sides in compared:
                with suppress(NotFound):  # dropped or switched meanwhile
                    found.append(await self._compare_one(sides, len(compared), pace))
        return Comparison(found, [reason for one in found for reason in unmet_by(one, self._min_overlap)])

    async def _compare_one(self, sides: _Sides, n_compared: int, pace: Pace) -> CollectionComparison:
        collection = sides.collection
        for pair in (sides.old, sides.new):
            if pair is not None and not self._serving.holds(collection.number, pair):
                raise NotFound(f"collection {collection.name!r} has other vectors by now")
        if sides.old is None:
            return _without_old(collection, sides.new)
        with sides.old.use() as old, sides.new.use() as new:
            keys = np.array(await self._rows.keys(collection.number), np.int64)
            allowed = _in_both(keys, old.index, new.index)
            limit = min(MAX_SAMPLED, max(MAX_SAMPLED_IN_ALL // n_compared, MIN_SAMPLED))
            queries = await self._queries(keys, old, new, limit, pace)
            hits = await self._search(queries, old.index, new.index, allowed, pace)
            shown = most_changed(hits, min(MAX_SHOWN, max(MAX_SHOWN_IN_ALL // n_compared, 1)))
            return CollectionComparison(
                collection=collection.name,
                n_images=collection.n_images,
                coverage=coverage(collection, old.index, new.index),
                new=_described(new),
                old=_described(old),
                n_queries=len(hits),
                overlap_at_10=mean_overlap(hits),
                changed=await self._with_ids(shown),
                labels=await self._compare_labels(collection.number, old, new, pace),
            )

    async def _queries(self, keys: Keys, old: Pair, new: Pair, limit: int, pace: Pace) -> list[ComparedQuery]:
        """Search by at most `limit` images and by their names, in turn: time may not be enough for all."""
        chosen = sample(keys[~np.isin(keys, list(old.index.unindexed | new.index.unindexed))], limit)
        by_image = await self._image_queries(chosen, old, new)
        records = await self._rows.by_key(chosen)
        names = dict.fromkeys(name_of(records[key]) for key in chosen if key in records)
        by_name = await _text_queries([name for name in names if name], old, new, pace)
        in_turn = chain.from_iterable(zip_longest(by_image, by_name))
        return [query for query in in_turn if query is not None]

    async def _image_queries(self, chosen: Sequence[int], old: Pair, new: Pair) -> list[ComparedQuery]:
        old_rows = await self._vectors.of(chosen, old.identity)
        new_rows = await self._vectors.of(chosen, new.identity)
        both = [key for key in chosen if key in old_rows and key in new_rows]
        return [ComparedQuery(old_rows[key], new_rows[key], key=key) for key in both]

    async def _search(
        self,
        queries: Sequence[ComparedQuery],
        old: LiveIndex,
        new: LiveIndex,
        allowed: Keys | None,
        pace: Pace,
    ) -> list[ComparedHits]:
        hits: list[ComparedHits] = []
        searched_s = 0.0
        for query in queries:
            if searched_s > self._max_search_s and len(hits) >= MIN_SAMPLED:
                break
            began = time.perf_counter()
            hits.append(await compare_hits(query, old, new, allowed))
            took_s = time.perf_counter() - began
            searched_s += took_s
            await pace.pause(took_s, encoded_s=0)
        return hits

    async def _with_ids(self, shown: Sequence[ComparedHits]) -> list[ChangedQuery]:
        """The queries that change, without images that are deleted meanwhile."""
        keys = {key for one in shown for key in [*one.old, *one.new, one.query.key] if key is not None}
        records = await self._rows.by_key(sorted(keys))

        def ids(row: Iterable[int]) -> list[str]:
            return [records[key].id for key in row if key in records]

        return [
            ChangedQuery(
                one.overlap,
                ids(one.old),
                ids(one.new),
                one.query.text,
                None if one.query.key is None else records[one.query.key].id,
            )
            for one in shown
            if one.query.key is None or one.query.key in records
        ]


def name_of(image: ImageRecord) -> str:
    """The words that an image is called by: `name` of its metadata, else its id; empty if that is a hash."""
    given = image.metadata.get("name")
    if isinstance(given, str) and given.strip():
        return given[:MAX_NAME_CHARS]
    return "" if _HASH.fullmatch(image.id) else " ".join(re.split(r"[-_.~]+", image.id)).strip()


async def _text_queries(texts: Sequence[str], old: Pair, new: Pair, pace: Pace) -> list[ComparedQuery]:
    old_rows = await text_vectors(old.version.embedder, texts, pace)
    new_rows = await text_vectors(new.version.embedder, texts, pace)
    both = [text for text in texts if text in old_rows and text in new_rows]
    return [ComparedQuery(old_rows[text], new_rows[text], text) for text in both]


def _without_old(collection: Collection, new: Pair) -> CollectionComparison:
    """There is nothing to compare with: no vectors answer searches."""
    share = coverage(collection, None, new.index)
    return CollectionComparison(collection.name, collection.n_images, share, _described(new))


def coverage(collection: Collection, old: LiveIndex | None, new: LiveIndex) -> float:
    """The share of the images that searches find with the old vectors, or of all, that has new ones."""
    unfound = set() if old is None else old.unindexed
    n_found = collection.n_images - len(unfound)
    return 1 - len(new.unindexed - unfound) / n_found if n_found > 0 else 1.0


def require_coverage(moving: Iterable[Moving]) -> None:
    """Raise Conflict if an image is found today that would not be found any more."""
    for collection, pair in moving:
        if collection.pair is not None and (lost := pair.index.failed - collection.pair.index.unindexed):
            raise Conflict(
                f"{len(lost)} of {collection.n_images} images of collection {collection.name!r} cannot be "
                "embedded and would not be found any more: `diptych check --data-dir` names them"
            )


def _in_both(keys: Keys, old: LiveIndex, new: LiveIndex) -> Keys | None:
    """The images to search among: all, unless one side is still being filled."""
    pending = old.pending | new.pending
    return keys[~np.isin(keys, list(pending))] if pending else None


def _described(pair: Pair) -> ComparedVectors:
    model = pair.model
    return ComparedVectors(model.name, model.version, model.precision, COSINE_BOUNDS[model.precision])


def _named(version: tuple[str, int]) -> str:
    return f"{version[0][:80]}/{version[1]}"

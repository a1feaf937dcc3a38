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
from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.indexed_vectors import IndexedVectors
from diptych.core.collections.reembed import Pace
from diptych.core.collections.service import Collections
from diptych.core.encoding.versions import LoadedVersions
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
from diptych.core.rollout.ports import ComparedImages
from diptych.core.rollout.text_vectors import text_vectors
from diptych.core.types import ImageRecord, Keys
from diptych.errors import Conflict, InvalidValue, NotFound

# Collections that move -> what their `next` vectors would change.
Compare = Callable[[Sequence[LoadedCollection]], Awaitable[Comparison]]

MAX_SAMPLED = 100  # images of one collection that are used as queries, and as many of their names
MAX_SAMPLED_IN_ALL = 2_000
MIN_SAMPLED = 10
MAX_SEARCH_S = 30.0  # a million images are searched in some tenths of a second
MAX_SHOWN = 20  # queries of one collection that change most
MAX_SHOWN_IN_ALL = 200
MAX_NAME_CHARS = 200
_HASH = re.compile(r"[0-9a-f]{32}")  # of an image that was added without an id


@dataclass(frozen=True, eq=False)
class _Pair:
    """The vectors of one collection that are compared."""

    collection: LoadedCollection
    old: IndexedVectors | None
    new: IndexedVectors


class Comparer:
    """Compares two kinds of vectors of collections, one comparison at a time, giving way to requests.

    Queries are sampled images of the collection, and their names.
    """

    def __init__(
        self,
        *,
        collections: Collections,
        images: ComparedImages,
        versions: LoadedVersions,
        min_overlap: float | None = None,
        max_search_s: float = MAX_SEARCH_S,
    ) -> None:
        """`min_overlap`: see `unmet_by`. `max_search_s`: of the searches in one collection, after which the
        remaining queries are left out.
        """
        self._collections = collections
        self._images = images
        self._versions = versions
        self._min_overlap = min_overlap
        self._max_search_s = max_search_s
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, moving: Sequence[LoadedCollection]) -> Comparison:
        """Compare the `next` vectors of the collections with the current ones.

        Raises NotReady, EncoderFailed, StoreError.
        """
        pairs = [_Pair(one, one.current, one.next) for one in moving if one.next is not None]
        return await self._compare([pair for pair in pairs if not pair.collection.dropped])

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
        chosen = self._collections.loaded() if collection is None else [self._collections[collection]]
        pairs = [
            _Pair(one, old_vectors, new_vectors)
            for one in chosen
            if (old_vectors := _vectors_of(one, old)) is not None
            and (new_vectors := _vectors_of(one, new)) is not None
        ]
        if not pairs:
            where = "no collection has" if collection is None else f"collection {collection!r} does not have"
            raise Conflict(
                f"{where} vectors of {_named(old)} and of {_named(new)} at once: a collection has those of "
                "the version that serves it, of the one that served before, if that is kept, and of the one "
                "that a rollout moves it to"
            )
        return await self._compare(pairs)

    async def _compare(self, pairs: Sequence[_Pair]) -> Comparison:
        found = []
        async with self._one_at_a_time:
            pace = EncoderShare(self._versions.busy_s)
            for pair in pairs:
                with suppress(NotFound):  # dropped meanwhile
                    found.append(await self._compare_pair(pair, len(pairs), pace))
        return Comparison(found, [reason for one in found for reason in unmet_by(one, self._min_overlap)])

    async def _compare_pair(self, pair: _Pair, n_pairs: int, pace: Pace) -> CollectionComparison:
        collection, old, new = pair.collection, pair.old, pair.new
        if old is None:
            return _without_old(collection, new)
        with self._collections.holding(old, new):
            collection.require_not_dropped()  # its indexes are closed unless they were held before
            keys = np.array(await collection.read(self._images.keys), np.int64)
            allowed = _in_both(keys, old, new)
            limit = min(MAX_SAMPLED, max(MAX_SAMPLED_IN_ALL // n_pairs, MIN_SAMPLED))
            queries = await self._queries(keys, old, new, limit, pace)
            hits = await self._search(queries, old, new, allowed, pace)
            shown = most_changed(hits, min(MAX_SHOWN, max(MAX_SHOWN_IN_ALL // n_pairs, 1)))
            return CollectionComparison(
                collection=collection.name,
                n_images=collection.n_images,
                coverage=coverage(collection, old, new),
                new=_described(new),
                old=_described(old),
                n_queries=len(hits),
                overlap_at_10=mean_overlap(hits),
                changed=await self._with_ids(shown),
            )

    async def _queries(
        self, keys: Keys, old: IndexedVectors, new: IndexedVectors, limit: int, pace: Pace
    ) -> list[ComparedQuery]:
        """Search by at most `limit` images and by their names, in turn: time may not be enough for all."""
        chosen = sample(keys[~np.isin(keys, list(old.unindexed | new.unindexed))], limit)
        by_image = await self._image_queries(chosen, old, new)
        records = await self._images.by_key(chosen)
        names = dict.fromkeys(name_of(records[key]) for key in chosen if key in records)
        by_name = await _text_queries([name for name in names if name], old, new, pace)
        in_turn = chain.from_iterable(zip_longest(by_image, by_name))
        return [query for query in in_turn if query is not None]

    async def _image_queries(
        self, chosen: Sequence[int], old: IndexedVectors, new: IndexedVectors
    ) -> list[ComparedQuery]:
        old_rows = await self._images.embeddings_of(chosen, old.identity)
        new_rows = await self._images.embeddings_of(chosen, new.identity)
        both = [key for key in chosen if key in old_rows and key in new_rows]
        return [ComparedQuery(old_rows[key], new_rows[key], key=key) for key in both]

    async def _search(
        self,
        queries: Sequence[ComparedQuery],
        old: IndexedVectors,
        new: IndexedVectors,
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
        records = await self._images.by_key(sorted(keys))

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


async def _text_queries(
    texts: Sequence[str], old: IndexedVectors, new: IndexedVectors, pace: Pace
) -> list[ComparedQuery]:
    old_rows = await text_vectors(old.pipeline, texts, pace)
    new_rows = await text_vectors(new.pipeline, texts, pace)
    both = [text for text in texts if text in old_rows and text in new_rows]
    return [ComparedQuery(old_rows[text], new_rows[text], text) for text in both]


def _without_old(collection: LoadedCollection, new: IndexedVectors) -> CollectionComparison:
    """There is nothing to compare with: no vectors answer searches."""
    share = coverage(collection, None, new)
    return CollectionComparison(collection.name, collection.n_images, share, _described(new))


def coverage(collection: LoadedCollection, old: IndexedVectors | None, new: IndexedVectors) -> float:
    """The share of the images that searches find with the old vectors, or of all, that has new ones."""
    unfound = set() if old is None else old.unindexed
    n_found = collection.n_images - len(unfound)
    return 1 - len(new.unindexed - unfound) / n_found if n_found > 0 else 1.0


def require_coverage(collections: Iterable[LoadedCollection]) -> None:
    """Raise Conflict if an image is found today that would not be found any more."""
    for collection in collections:
        if collection.next is None or collection.dropped:
            continue
        found_now = set() if collection.current is None else collection.current.unindexed
        lost = collection.next.failed - found_now
        if lost and collection.current is not None:
            raise Conflict(
                f"{len(lost)} of {collection.n_images} images of collection {collection.name!r} cannot be "
                "embedded and would not be found any more: `diptych check --data-dir` names them"
            )


def _in_both(keys: Keys, old: IndexedVectors, new: IndexedVectors) -> Keys | None:
    """The images to search among: all, unless one side is still being filled."""
    pending = old.pending | new.pending
    return keys[~np.isin(keys, list(pending))] if pending else None


def _vectors_of(collection: LoadedCollection, version: tuple[str, int]) -> IndexedVectors | None:
    for vectors in collection.all_vectors:
        if (vectors.version.ref.name, vectors.version.ref.version) == version:
            return vectors
    return None


def _described(vectors: IndexedVectors) -> ComparedVectors:
    model = vectors.model
    return ComparedVectors(model.name, model.version, model.precision, COSINE_BOUNDS[model.precision])


def _named(version: tuple[str, int]) -> str:
    return f"{version[0][:80]}/{version[1]}"

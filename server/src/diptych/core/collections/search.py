"""Use case "search": the images of collections that are nearest to a query, or to a mix of queries."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np

from diptych.bundle.calibration import RECOMMENDED_RELEVANCE, QueryKind
from diptych.core.classification.scoring import normalised
from diptych.core.collections.metadata.facets import Facet, count_facets
from diptych.core.collections.metadata.filters import Filter, Path
from diptych.core.collections.metadata.ordering import OrderBy, in_order
from diptych.core.collections.metadata.words import WordQuery, matched_fields, parse_words, without_syntax
from diptych.core.collections.ranking.fusion import Match
from diptych.core.collections.ranking.searcher import SearchTarget
from diptych.core.collections.service import Collections
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.duplicates import MAX_FOLDED, Collapse
from diptych.core.fetching.image_urls import ImageUrl, ImageUrls, ReserveBytes
from diptych.core.relevance.relevance import Relevance
from diptych.core.serving.snapshot import Pair, Serving, Snapshot
from diptych.core.types import Embedding, Hit, ModelInfo, StoredImage, TextEmbedding
from diptych.errors import Conflict, InputError, InvalidValue, NotFound, NotReady, TooLarge

MIN_SUM_NORM = 1e-6  # below it the direction of the sum is rounding error
MAX_COLLECTIONS = 32  # of one search
MAX_SORTED = 10_000  # best hits that `order_by` sorts
ATTEMPTS = 3  # next to writes, before a search waits for its turn among them


# A text, the bytes of an image file, an image of a collection that is searched, which is itself no hit, or a
# vector (D,) of unit norm.
FetchedQuery = str | bytes | StoredImage | Embedding


@dataclass(frozen=True)
class WeightedQuery:
    """One query and its weight in the mix. `name` is what error messages call it, such as `query[0]`."""

    query: FetchedQuery | ImageUrl
    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class SearchInput:
    """A search: queries, collections, and options.

    Hits with less than `min_relevance` are left out, and not counted. The values at the paths `facets` are
    counted among the `n_counted` best hits. With `collapse` only the MAX_FOLDED best images are looked at.
    `match` is what finds hits: the meaning of the queries, the words of the one text, or both.

    With `order_by` the hits that may fit come in the order of a field: the MAX_SORTED best ones, with
    `collapse` those that are looked at. Without `min_relevance` it is the recommended one for the query.
    """

    queries: Sequence[WeightedQuery]
    collections: Sequence[str]
    k: int
    offset: int = 0
    filter: Filter | None = None
    exact: bool = False
    min_relevance: float | None = None
    facets: Sequence[Path] = ()
    n_counted: int = 0
    collapse: Collapse | None = None
    match: Match = "meaning"
    order_by: OrderBy | None = None


@dataclass(frozen=True)
class SearchResult:
    """Hits, best first or in the requested order. `truncated`: a text of the query was cut to the context
    length. `model`: the model that made the vectors. `facets`: in the order in which they were asked for.
    `words_incomplete`: the words of some images are not indexed yet. `sorted_all`: whether all hits that may
    fit were sorted, None if none were.
    """

    collections: list[str]
    hits: list[Hit]
    truncated: bool
    model: ModelInfo
    facets: list[Facet]
    words_incomplete: bool = False
    sorted_all: bool | None = None


async def search_images(
    request: SearchInput,
    *,
    serving: Serving,
    collections: Collections,
    image_urls: ImageUrls,
    reserve: ReserveBytes,
) -> SearchResult:
    """Embed Q queries by the version that made the collections' vectors, mix them into one (D,) and search.

    All images that were acknowledged before the search began, and pass the filter, compete for the hits; one
    that is replaced meanwhile as the old or the new image. So a search is repeated if an image vanished
    between index and store or came in between, or if another snapshot answers by now: the former one lacks
    images that were added since. In the end it runs between two writes.

    Raises NotFound for an unknown collection before it encodes anything; Conflict when one is not served;
    NotReady while one is loaded or embedded, and while its words are indexed, where they alone find hits;
    StoreReadOnly instead if nothing will index them;
    InvalidValue when the vectors of the collections may not be compared, for a bound or an order where
    relevance is unknown, and as words_of; the error of a bad query, with its name.
    """
    await collections.catch_up()
    names, words = _names(request.collections), words_of(request.queries, request.match)
    searched = [collections[name] for name in names]
    _pairs(searched, serving.current)  # checked before anything is fetched
    placed = [_placed(one, names) for one in _as_meant(request)]
    queries: Sequence[FetchedQuery] = await image_urls.fetched(placed, "query", reserve)
    search = _Search(request, names, searched, queries, words, serving, collections)
    for _ in range(ATTEMPTS):
        if (found := await search.attempt()) is not None:
            return found
        await collections.catch_up()
    return await collections.between_writes(search.last_attempt)


def _names(requested: Sequence[str]) -> list[str]:
    """The names of the collections to search, each once. Raises InvalidValue for none, TooLarge."""
    names = list(dict.fromkeys(requested))
    if not names:
        raise InvalidValue("there is no collection to search", "collections")
    if len(names) > MAX_COLLECTIONS:
        raise TooLarge(f"{len(names)} collections, limit is {MAX_COLLECTIONS}", "collections")
    return names


def _as_meant(request: SearchInput) -> list[WeightedQuery]:
    """The queries as the model reads them: without the syntax of words, where words count."""
    return [
        replace(one, query=without_syntax(one.query))
        if isinstance(one.query, str) and request.match != "meaning"
        else one
        for one in request.queries
    ]


def _placed(queried: WeightedQuery, names: Sequence[str]) -> FetchedQuery | ImageUrl:
    """The query; one by a stored image with its collection. Raises InvalidValue unless that is searched."""
    query = queried.query
    if not isinstance(query, StoredImage):
        return query
    collection = query.collection or (names[0] if len(names) == 1 else None)
    if collection is None:
        raise InvalidValue("an id needs its collection when several are searched", queried.name)
    if collection not in names:
        raise InvalidValue(
            f"collection {collection[:80]!r} is not one of those that are searched", queried.name
        )
    return StoredImage(query.id, collection)


def _pairs(searched: Sequence[Collection], snapshot: Snapshot) -> list[Pair]:
    """The vectors of the collections. Raises InvalidValue unless they are of one identity, and as
    Collection.require_served.
    """
    pairs = [collection.require_served(snapshot) for collection in searched]
    for collection, pair in zip(searched, pairs, strict=True):
        if pair.identity != pairs[0].identity:
            raise InvalidValue(
                f"collection {collection.name!r} has vectors of {_described(pair.model)}, collection "
                f"{searched[0].name!r} of {_described(pairs[0].model)}: search them one by one",
                "collections",
            )
    return pairs


def _described(model: ModelInfo) -> str:
    return f"{model.ref.exact} in {model.precision} with {model.decode} decoding"


@dataclass(eq=False)
class _Search:
    """A search that may be repeated. Its queries are embedded again only for other vectors."""

    request: SearchInput
    names: list[str]  # as the request gives them
    searched: Sequence[Collection]
    queries: Sequence[FetchedQuery]
    words: WordQuery | None
    serving: Serving
    collections: Collections
    identity: str = ""  # of the embedded queries
    embedded: Sequence[TextEmbedding] = ()

    async def attempt(self) -> SearchResult | None:
        """The result; None if it may lack an image, so that the search must be repeated."""
        with self.serving.use() as snapshot:
            try:
                found, is_complete = await self._search(snapshot)
            except (Conflict, NotReady):  # as for an image that was added since the switch
                if snapshot.generation == self.serving.current.generation:
                    raise
                return None
            return found if is_complete and snapshot.generation == self.serving.current.generation else None

    async def last_attempt(self) -> SearchResult:
        """The result of a search between two writes, so that only those of other servers come in between, of
        which one may be a switch to another version; in the end these wait, too.
        """
        for _ in range(ATTEMPTS):
            if (found := await self.attempt()) is not None:
                return found
            await self.collections.catch_up()
        async with self.collections.peers.writing_alone():
            await self.collections.catch_up()
            with self.serving.use() as snapshot:
                return (await self._search(snapshot))[0]

    async def _search(self, snapshot: Snapshot) -> tuple[SearchResult, bool]:
        request, pairs = self.request, _pairs(self.searched, snapshot)
        rows, matches = await asyncio.gather(  # words are looked up while queries are encoded
            self._embedded(pairs[0]), self.collections.carriers(self.searched, self.words)
        )
        start, end = _ranks(request)
        version = pairs[0].version
        relevance = Relevance(version.calibration, query_kind(request.queries), min_relevance(request))
        relevance.require_usable(
            version.ref, "order_by" if request.min_relevance is None else "min_relevance"
        )
        nearest = await self.collections.nearest(
            [
                SearchTarget(one, one.require_searchable(snapshot).index, self._ids_in(name), carriers)
                for name, one, carriers in zip(self.names, self.searched, matches, strict=True)
            ],
            mix([row.embedding for row in rows], [one.weight for one in request.queries]),
            k=end - start,
            offset=start,
            filter=request.filter,
            exact=request.exact or request.order_by is not None,
            relevance=relevance,
            match=request.match,
        )
        best, sorted_all = nearest.hits, None
        if request.order_by is not None:  # one more than is sorted was read
            best, sorted_all = best[: end - 1], len(best) < end
        if request.collapse is not None:
            best = await self.collections.fold_duplicates(best, request.collapse, pairs[0])
        counted = best[: request.n_counted]
        if request.order_by is not None:
            best = await asyncio.to_thread(in_order, best, request.order_by)
        result = SearchResult(
            collections=self.names,
            hits=self._with_fields(best[request.offset - start :][: request.k]),
            truncated=any(row.truncated for row in rows),
            model=pairs[0].model,
            facets=await asyncio.to_thread(count_facets, request.facets, counted) if request.facets else [],
            words_incomplete=nearest.words_incomplete,
            sorted_all=sorted_all,
        )
        return result, nearest.is_complete

    async def _embedded(self, pair: Pair) -> Sequence[TextEmbedding]:
        """The queries, Q of (D,)."""
        if self.identity != pair.identity:
            self.embedded = await asyncio.gather(
                *(
                    _embed(query, one.name, self.collections, pair)
                    for query, one in zip(self.queries, self.request.queries, strict=True)
                )
            )
            self.identity = pair.identity
        return self.embedded

    def _with_fields(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits, those by words with the fields that carry them."""
        words, fields = self.words, {one.name: one.text_fields for one in self.searched}
        return [
            replace(
                one,
                matched_fields=tuple(matched_fields(words, one.id, one.metadata, fields.get(one.collection))),
            )
            if words is not None and "words" in one.matched
            else one
            for one in hits
        ]

    def _ids_in(self, name: str) -> list[str]:
        stored = [query for query in self.queries if isinstance(query, StoredImage)]
        return [query.id for query in stored if query.collection == name]


def _ranks(request: SearchInput) -> tuple[int, int]:
    """The ranks to read, from and to: those of the page, or all that it depends on."""
    end = request.offset + request.k
    if request.order_by is not None:
        return 0, 1 + (MAX_SORTED if request.collapse is None else MAX_FOLDED)
    if request.collapse is not None:
        return 0, MAX_FOLDED
    return (0, max(end, request.n_counted)) if request.facets else (request.offset, end)


def query_kind(queries: Sequence[WeightedQuery]) -> QueryKind:
    """How the relevance of hits is judged: by words, unless images have more of the weight, signs aside."""
    words = sum(abs(one.weight) for one in queries if isinstance(one.query, str))
    return "text" if 2 * words >= sum(abs(one.weight) for one in queries) else "image"


def words_of(queries: Sequence[WeightedQuery], match: Match) -> WordQuery | None:
    """The words that hits may carry: those of the one text of positive weight; None if only meaning counts.

    Raises InvalidValue naming what is missing or too many.
    """
    if match == "meaning":
        return None
    texts = [one for one in queries if isinstance(one.query, str) and one.weight > 0]
    if not texts:
        raise InvalidValue(f'"{match}" needs a text of positive weight among the queries', "match")
    others = texts[1:] if match == "both" else [one for one in queries if one is not texts[0]]
    if others:
        allowed = "one text of positive weight" if match == "both" else "one text and nothing else"
        raise InvalidValue(f'match "{match}" takes {allowed}', others[0].name)
    return parse_words(str(texts[0].query))


def min_relevance(request: SearchInput) -> float | None:
    """The least relevance of a hit that does not carry the words. Hits by meaning that are sorted must have
    one: without it the newest image of all would come first.
    """
    if request.min_relevance is not None or request.order_by is None or request.match == "words":
        return request.min_relevance
    return RECOMMENDED_RELEVANCE


def mix(queries: Sequence[Embedding], weights: Sequence[float]) -> Embedding:
    """The weighted sum of unit queries (D,), scaled to unit norm; negative weights lead away from a query.

    Raises InvalidValue when a weight is not finite, when all are 0, or when the queries cancel out.
    """
    for index, weight in enumerate(weights):
        if not np.isfinite(weight):
            raise InvalidValue(f"weight {weight} is not a finite number", f"query[{index}]")
    largest = max(map(abs, weights))  # dividing by it keeps huge weights finite in float32
    if largest == 0:
        raise InvalidValue(
            "weight is 0, so there is nothing to search for" if len(weights) == 1 else "all weights are 0",
            "query",
        )
    shares = np.array([weight / largest for weight in weights], dtype=np.float32)  # (Q,)
    total: Embedding = shares @ np.stack(queries)  # (Q,) @ (Q, D) -> (D,)
    if np.linalg.norm(total) < MIN_SUM_NORM:
        raise InvalidValue("the weighted queries cancel each other out", "query")
    return normalised(total)


async def _embed(query: FetchedQuery, name: str, collections: Collections, pair: Pair) -> TextEmbedding:
    """One query -> (D,). Raises InputError or, for an id, NotFound naming `name`."""
    embedder = pair.version.embedder
    try:
        match query:
            case str():
                return await embedder.embed_text(query)
            case bytes():
                return TextEmbedding(await embedder.embed_image(query), truncated=False)
            case np.ndarray():
                return TextEmbedding(query, truncated=False)
            case StoredImage(id, collection):
                assert collection is not None, "placed before"
                return TextEmbedding(
                    await collections.images.embedding(collection, id, pair), truncated=False
                )
    except (InputError, NotFound) as error:
        raise error.named(name) from None
    assert_never(query)

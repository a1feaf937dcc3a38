"""Use case "search": the images of collections that are nearest to a query, or to a mix of queries."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from diptych.bundle.calibration import QueryKind
from diptych.core.classification.scoring import normalised
from diptych.core.collections.duplicates import MAX_FOLDED, Collapse
from diptych.core.collections.indexed_vectors import IndexedVectors
from diptych.core.collections.metadata.facets import Facet, count_facets
from diptych.core.collections.metadata.filters import Filter, Path
from diptych.core.collections.nearest import SearchTarget
from diptych.core.collections.service import Collections
from diptych.core.fetching.image_urls import ImageUrl, ImageUrls, ReserveBytes
from diptych.core.types import Embedding, Hit, ModelInfo, StoredImage, TextEmbedding
from diptych.errors import InputError, InvalidValue, NotFound, NotReady, TooLarge

MIN_SUM_NORM = 1e-6  # below it the direction of the sum is rounding error
MAX_COLLECTIONS = 32  # of one search


# A text, the bytes of an image file, or an image of a collection that is searched, which is itself no hit.
FetchedQuery = str | bytes | StoredImage


@dataclass(frozen=True)
class WeightedQuery:
    """One query and its weight in the mix. `name` is what error messages call it, such as `query[0]`."""

    query: FetchedQuery | ImageUrl
    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class SearchInput:
    """What to search for in which collections.

    Hits with less than `min_relevance` are left out, and not counted. The values at the paths `facets` are
    counted among the `n_counted` best hits. With `collapse` only the MAX_FOLDED best images are looked at.
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


@dataclass(frozen=True)
class SearchResult:
    """Hits, best first. `truncated`: a text of the query was cut to the context length. `model`: the model
    that made the vectors. `facets`: in the order in which they were asked for.
    """

    collections: list[str]
    hits: list[Hit]
    truncated: bool
    model: ModelInfo
    facets: list[Facet]


async def search_collection(
    asked: SearchInput, *, collections: Collections, image_urls: ImageUrls, reserve: ReserveBytes
) -> SearchResult:
    """Embed Q queries with the collections' own pipeline, mix them into one (D,) vector and search with it.

    If a collection moves to other vectors meanwhile, these are searched: the former ones lack images that
    were replaced since. Raises NotFound for an unknown collection before it encodes anything; InvalidValue
    when the vectors of the collections may not be compared; the error of a bad query, with its name; and what
    `Collections.search` raises.
    """
    names = _names(asked.collections)
    searched = [collections[name] for name in names]
    with _using(names, collections):  # checked before anything is fetched
        placed = [_placed(one, names) for one in asked.queries]
        queries: Sequence[FetchedQuery] = await image_urls.fetched(placed, "query", reserve)
    while True:
        with _using(names, collections) as vectors:
            try:
                found = await _search(asked, names, queries, collections, vectors)
            except NotReady:  # as for an image that was replaced since the collection moved
                if [one.writing for one in searched] == vectors:
                    raise
                continue
            if [one.writing for one in searched] == vectors:
                return found


def _names(asked: Sequence[str]) -> list[str]:
    """The names of the collections to search, each once. Raises InvalidValue for none, TooLarge."""
    names = list(dict.fromkeys(asked))
    if not names:
        raise InvalidValue("there is no collection to search", "collections")
    if len(names) > MAX_COLLECTIONS:
        raise TooLarge(f"{len(names)} collections, limit is {MAX_COLLECTIONS}", "collections")
    return names


def _placed(asked: WeightedQuery, names: Sequence[str]) -> FetchedQuery | ImageUrl:
    """The query; one by a stored image with its collection. Raises InvalidValue unless that is searched."""
    query = asked.query
    if not isinstance(query, StoredImage):
        return query
    collection = query.collection or (names[0] if len(names) == 1 else None)
    if collection is None:
        raise InvalidValue("an id needs its collection when several are searched", asked.name)
    if collection not in names:
        raise InvalidValue(
            f"collection {collection[:80]!r} is not one of those that are searched", asked.name
        )
    return StoredImage(query.id, collection)


@contextmanager
def _using(names: Sequence[str], collections: Collections) -> Iterator[list[IndexedVectors]]:
    """The vectors of the collections, kept open inside the block. Raises InvalidValue unless they are of one
    identity.
    """
    with ExitStack() as stack:
        vectors = [stack.enter_context(collections.using(name)) for name in names]
        for name, one in zip(names, vectors, strict=True):
            if one.identity != vectors[0].identity:
                raise InvalidValue(
                    f"collection {name!r} has vectors of {_described(one.model)}, collection {names[0]!r} of "
                    f"{_described(vectors[0].model)}: search them one by one",
                    "collections",
                )
        yield vectors


def _described(model: ModelInfo) -> str:
    return f"{model.ref.exact} in {model.precision} with {model.decode} decoding"


async def _search(
    asked: SearchInput,
    names: list[str],
    queries: Sequence[FetchedQuery],
    collections: Collections,
    vectors: Sequence[IndexedVectors],
) -> SearchResult:
    vectors_of = dict(zip(names, vectors, strict=True))
    rows = await asyncio.gather(
        *(
            _embed(query, one.name, collections, vectors_of)
            for query, one in zip(queries, asked.queries, strict=True)
        )
    )  # Q of (D,)
    start, end = _ranks(asked)
    stored = [query for query in queries if isinstance(query, StoredImage)]
    best = await collections.search(
        [
            SearchTarget(name, one, [query.id for query in stored if query.collection == name])
            for name, one in vectors_of.items()
        ],
        mix([row.embedding for row in rows], [one.weight for one in asked.queries]),
        k=end - start,
        offset=start,
        filter=asked.filter,
        kind=query_kind(asked.queries),
        min_relevance=asked.min_relevance,
        exact=asked.exact,
    )
    if asked.collapse is not None:
        best = await collections.fold_duplicates(best, asked.collapse, vectors[0])
    counted = best[: asked.n_counted]
    return SearchResult(
        collections=names,
        hits=best[asked.offset - start :][: asked.k],
        truncated=any(row.truncated for row in rows),
        model=vectors[0].model,
        facets=await asyncio.to_thread(count_facets, asked.facets, counted) if asked.facets else [],
    )


def _ranks(asked: SearchInput) -> tuple[int, int]:
    """The ranks to read, from and to: those of the page, or all that it depends on."""
    end = asked.offset + asked.k
    if asked.collapse is not None:
        return 0, MAX_FOLDED
    return (0, max(end, asked.n_counted)) if asked.facets else (asked.offset, end)


def query_kind(queries: Sequence[WeightedQuery]) -> QueryKind:
    """How the relevance of hits is judged: by words, unless images have more of the weight, signs aside."""
    words = sum(abs(one.weight) for one in queries if isinstance(one.query, str))
    return "text" if 2 * words >= sum(abs(one.weight) for one in queries) else "image"


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


async def _embed(
    query: FetchedQuery, name: str, collections: Collections, vectors: Mapping[str, IndexedVectors]
) -> TextEmbedding:
    """One query -> (D,). `vectors` are those of each collection. Raises InputError or, for an id, NotFound
    naming `name`.
    """
    embedder = next(iter(vectors.values())).pipeline.embedder
    try:
        match query:
            case str():
                return await embedder.embed_text(query)
            case bytes():
                return TextEmbedding(await embedder.embed_image(query), truncated=False)
            case StoredImage(id, collection):
                assert collection is not None, "placed before"
                row = await collections.images.embedding(collection, id, vectors[collection])
                return TextEmbedding(row, truncated=False)
    except (InputError, NotFound) as error:
        raise error.named(name) from None
    assert_never(query)

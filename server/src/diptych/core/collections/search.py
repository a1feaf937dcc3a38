"""Use case "search": the images of a collection that are nearest to a query, or to a mix of queries."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from diptych.core.classification.scoring import normalised
from diptych.core.collections.duplicates import MAX_FOLDED, Collapse
from diptych.core.collections.facets import Facet, count_facets
from diptych.core.collections.filters import Filter, Path
from diptych.core.collections.indexed_vectors import IndexedVectors
from diptych.core.collections.service import Collections
from diptych.core.fetching.image_urls import ImageUrl, ImageUrls, ReserveBytes
from diptych.core.types import Embedding, Hit, ModelInfo, TextEmbedding
from diptych.errors import InputError, InvalidValue, NotFound, NotReady

MIN_SUM_NORM = 1e-6  # below it the direction of the sum is rounding error


@dataclass(frozen=True)
class StoredImage:
    """A query by an image of the collection, which is itself no hit."""

    id: str


FetchedQuery = str | bytes | StoredImage  # a text, the bytes of an image file, or an image of the collection


@dataclass(frozen=True)
class WeightedQuery:
    """One query and its weight in the mix. `name` is what error messages call it, such as `query[0]`."""

    query: FetchedQuery | ImageUrl
    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class SearchInput:
    """What to search for in which collection. `min_relevance` must be None: relevance is not calibrated.

    The values at the paths `facets` are counted among the `n_counted` best hits. With `collapse` only the
    MAX_FOLDED best images are looked at.
    """

    queries: Sequence[WeightedQuery]
    collection: str
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

    hits: list[Hit]
    truncated: bool
    model: ModelInfo
    facets: list[Facet]


async def search_collection(
    asked: SearchInput, *, collections: Collections, image_urls: ImageUrls, reserve: ReserveBytes
) -> SearchResult:
    """Embed Q queries with the collection's own pipeline, mix them into one (D,) vector and search with it.

    If the collection moves to other vectors meanwhile, these are searched: the former ones lack images that
    were replaced since. Raises NotFound for an unknown collection before it encodes anything; the error of a
    bad query, with its name; and what `Collections.search` raises.
    """
    collection = collections[asked.collection]
    with collections.using(asked.collection):  # checked before anything is fetched
        queries: Sequence[FetchedQuery] = await image_urls.fetched(
            [one.query for one in asked.queries], "query", reserve
        )
    while True:
        with collections.using(asked.collection) as vectors:
            try:
                found = await _search(asked, queries, collections, vectors)
            except NotReady:  # as for an image that was replaced since the collection moved
                if collection.writing is vectors:
                    raise
                continue
            if collection.writing is vectors:
                return found


async def _search(
    asked: SearchInput, queries: Sequence[FetchedQuery], collections: Collections, vectors: IndexedVectors
) -> SearchResult:
    rows = await asyncio.gather(
        *(
            _embed(query, one.name, asked.collection, collections, vectors)
            for query, one in zip(queries, asked.queries, strict=True)
        )
    )  # Q of (D,)
    start, end = _ranks(asked)
    best = await collections.search(
        asked.collection,
        mix([row.embedding for row in rows], [one.weight for one in asked.queries]),
        k=end - start,
        offset=start,
        filter=asked.filter,
        without=[query.id for query in queries if isinstance(query, StoredImage)],
        min_relevance=asked.min_relevance,
        vectors=vectors,
        exact=asked.exact,
    )
    if asked.collapse is not None:
        best = await collections.fold_duplicates(best, asked.collapse, vectors)
    texts = [one.query for one in asked.queries if isinstance(one.query, str) and one.weight > 0]
    collections.note_texts(asked.collection, texts)
    counted = best[: asked.n_counted]
    return SearchResult(
        hits=best[asked.offset - start :][: asked.k],
        truncated=any(row.truncated for row in rows),
        model=vectors.model,
        facets=await asyncio.to_thread(count_facets, asked.facets, counted) if asked.facets else [],
    )


def _ranks(asked: SearchInput) -> tuple[int, int]:
    """The ranks to read, from and to: those of the page, or all that it depends on."""
    end = asked.offset + asked.k
    if asked.collapse is not None:
        return 0, MAX_FOLDED
    return (0, max(end, asked.n_counted)) if asked.facets else (asked.offset, end)


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
    query: FetchedQuery, name: str, collection: str, collections: Collections, vectors: IndexedVectors
) -> TextEmbedding:
    """One query -> (D,). Raises InputError or, for an id, NotFound naming `name`."""
    embedder = vectors.pipeline.embedder
    try:
        match query:
            case str():
                return await embedder.embed_text(query)
            case bytes():
                return TextEmbedding(await embedder.embed_image(query), truncated=False)
            case StoredImage():
                row = await collections.embedding_of(collection, query.id, vectors)
                return TextEmbedding(row, truncated=False)
    except (InputError, NotFound) as error:
        raise error.named(name) from None
    assert_never(query)

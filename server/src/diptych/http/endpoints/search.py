"""`/search`: images of a collection by words, by an image, by one of its own, or by a mix."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, assert_never

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from diptych.core.collections.query import mix
from diptych.core.collections.service import Collections
from diptych.core.encoding.embedder import Embedder
from diptych.core.services import Services
from diptych.core.types import Hit, ModelInfo, TextEmbedding
from diptych.errors import InputError, NotFound
from diptych.http import search_body
from diptych.http.answers import HitResponse, Links, ModelRef, SearchResponse
from diptych.http.cancel_on_disconnect import while_connected
from diptych.http.context import context_of
from diptych.http.description import body_of
from diptych.http.errors.documented_errors import BODY, GUARDED, refusals
from diptych.http.middleware.body_budget import Take, room_of
from diptych.http.parsing import schemas
from diptych.http.requests import MAX_QUERIES, NoQuery, SearchQuery, SearchRequest
from diptych.http.respond import json_response
from diptych.http.search_body import ParsedSearch, StoredImage, read_search, search_of_query_string
from diptych.http.state import Options, ReadyServices, at_work

router = APIRouter(tags=["search"], responses=refusals(*GUARDED))

_QUERIES: schemas.Schema = {"type": "array", "minItems": 1, "maxItems": MAX_QUERIES}
_FORM = schemas.form(
    {
        "image": {**_QUERIES, "items": schemas.FILE},
        "text": {**_QUERIES, "items": schemas.QUERY_TEXT},
        "k": {"type": "integer", "minimum": 1, **schemas.limited(maximum="max_k")},
        "offset": {"type": "integer", "minimum": 0, **schemas.limited(maximum="max_offset")},
        "filter": schemas.json_field(schemas.ref("Filter"), "on metadata"),
        "collection": schemas.STRING,
        "exact": {"type": "boolean"},
    },
    anyOf=[{"required": ["image"]}, {"required": ["text"]}],
)


@dataclass(frozen=True)
class Found:
    """Hits, best first, whether a text of the query was cut to the context, and what made the vectors."""

    hits: list[Hit]
    truncated: bool
    model: ModelInfo


@router.get("/search", response_model=SearchResponse, responses=refusals(400, 404, 409, 413, 422, 429))
async def search_by_words(
    request: Request, services: ReadyServices, options: Options, asked: Annotated[SearchQuery, Query()]
) -> Response:
    """The `k` images that fit the words best, best first."""
    with context_of(request).stage("parse"):
        query = search_of_query_string(asked, options.limits)
    return await _answer(request, services, query, "q", options.default_collection)


@router.post(
    "/search",
    response_model=SearchResponse,
    responses=refusals(404, 409, *BODY),
    openapi_extra=body_of(SearchRequest, _FORM),
)
async def search(request: Request, _: NoQuery) -> Response:
    """The `k` images that fit the query best, best first; several queries are mixed by weight.

    With `exact` all images are compared, also where the collection's `recall` is below 1.
    """
    services, options = at_work(request)
    with context_of(request).stage("parse"):
        asked = await read_search(request, options)
    return await _answer(request, services, asked, "query", options.default_collection)


async def _answer(
    request: Request, services: Services, asked: ParsedSearch, name: str, default: str
) -> Response:
    collection = asked.options.collection or default
    with context_of(request).stage("work"):
        found = await while_connected(request, _search(services, asked, name, collection, room_of(request)))
    with context_of(request).stage("serialise"):
        hits = [HitResponse(**vars(hit), links=Links.of(collection, hit.id)) for hit in found.hits]
    model = ModelRef.of(found.model)
    answer = SearchResponse(model=model, collection=collection, hits=hits, truncated=found.truncated)
    return json_response(request, answer)


async def _search(services: Services, asked: ParsedSearch, name: str, collection: str, room: Take) -> Found:
    collections = services.collections
    with collections.using(collection) as engine:  # an unknown collection is a 404 before any encoding
        queries: Sequence[search_body.Ready] = await services.image_urls.fetched(asked.queries, name, room)
        rows = await asyncio.gather(
            *(
                _embed(
                    collections, engine.embedder, collection, query, name if name == "q" else f"{name}[{i}]"
                )
                for i, query in enumerate(queries)
            )
        )
        hits = await collections.search(
            collection,
            mix([row.embedding for row in rows], asked.weights),
            k=asked.options.k,
            offset=asked.options.offset,
            filter=asked.filter,
            min_relevance=asked.options.min_relevance,
            made_by=engine,
            exact=asked.options.exact,
        )
    return Found(hits, any(row.truncated for row in rows), engine.model)


async def _embed(
    collections: Collections, embedder: Embedder, collection: str, query: search_body.Ready, item: str
) -> TextEmbedding:
    """One query -> (D,). Raises InputError or, for an id, NotFound naming `item`."""
    try:
        match query:
            case str():
                return await embedder.embed_text(query)
            case bytes():
                row = await embedder.embed_image(query)
                return TextEmbedding(row, truncated=False)
            case StoredImage():
                row = await collections.embedding_of(collection, query.id)
                return TextEmbedding(row, truncated=False)
    except (InputError, NotFound) as error:
        raise error.named(item) from None
    assert_never(query)

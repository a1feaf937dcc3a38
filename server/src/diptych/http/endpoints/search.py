"""`/search`: images of a collection by words, by an image, by one of its own, or by a mix."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from diptych.core.collections.search import SearchInput, search_collection
from diptych.core.services import Services
from diptych.http.answers import HitResponse, SearchResponse
from diptych.http.cancel_on_disconnect import while_connected
from diptych.http.context import context_of
from diptych.http.description import body_of
from diptych.http.endpoints.references import Links, ModelRef
from diptych.http.errors.documented_errors import BODY, GUARDED, refusals
from diptych.http.middleware.body_budget import room_of
from diptych.http.parsing import schemas
from diptych.http.parsing.request_models import NoQuery
from diptych.http.requests import MAX_QUERIES, SearchQuery, SearchRequest
from diptych.http.respond import json_response
from diptych.http.search_body import read_search, search_of_query_string
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


@router.get("/search", response_model=SearchResponse, responses=refusals(400, 404, 409, 413, 422, 429))
async def search_by_words(
    request: Request, services: ReadyServices, options: Options, asked: Annotated[SearchQuery, Query()]
) -> Response:
    """The `k` images that fit the words best, best first."""
    with context_of(request).stage("parse"):
        query = search_of_query_string(asked, options)
    return await _answer(request, services, query)


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
    return await _answer(request, services, asked)


async def _answer(request: Request, services: Services, asked: SearchInput) -> Response:
    with context_of(request).stage("work"):
        search = search_collection(
            asked,
            collections=services.collections,
            image_urls=services.image_urls,
            reserve=room_of(request),
        )
        found = await while_connected(request, search)
    with context_of(request).stage("serialise"):
        hits = [HitResponse(**vars(hit), links=Links.of(asked.collection, hit.id)) for hit in found.hits]
    model = ModelRef.of(found.model)
    answer = SearchResponse(model=model, collection=asked.collection, hits=hits, truncated=found.truncated)
    return json_response(request, answer)

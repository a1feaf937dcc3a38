"""`GET /search` and `POST /search`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from diptych.core.collections.search import SearchInput, search_images
from diptych.core.services import Services
from diptych.http.access import GuardedRoute, caller_of, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.endpoints.search.read import read_search, search_of_query_string
from diptych.http.endpoints.search.request import ALL_COLLECTIONS, SEARCH_FORM, SearchQuery, SearchRequest
from diptych.http.endpoints.search.response import SearchResponse
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, documented_errors
from diptych.http.middleware.body_budget import memory_reserver
from diptych.http.parsing.request_models import NoQuery
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices, ready_services

router = APIRouter(tags=["search"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)


@router.get(
    "/search",
    summary="Search by a text",
    response_model=SearchResponse,
    responses=documented_errors(400, 404, 409, 413, 422, 429),
)
@needs("read", collections="chosen")
async def search_by_words(
    request: Request, services: ReadyServices, options: Options, parameters: Annotated[SearchQuery, Query()]
) -> Response:
    """Find the `k` images that fit the text best, best first."""
    with context_of(request).stage("parse"):
        query = search_of_query_string(parameters, options)
    return await _respond(request, services, query)


@router.post(
    "/search",
    summary="Search by texts, images or both",
    response_model=SearchResponse,
    responses=documented_errors(404, 409, *BODY_ERRORS),
    openapi_extra=request_body(SearchRequest, SEARCH_FORM),
)
@needs("read", collections="chosen")
async def search(request: Request, _: NoQuery) -> Response:
    """Find the `k` images that fit the query best, best first; several queries are mixed by weight.

    `exact` compares all images even where the collection's `recall` is below 1.
    """
    services, options = ready_services(request)
    with context_of(request).stage("parse"):
        query = await read_search(request, options)
    return await _respond(request, services, query)


async def _respond(request: Request, services: Services, query: SearchInput) -> Response:
    if list(query.collections) == [ALL_COLLECTIONS]:
        await services.collections.catch_up()
    query = replace(query, collections=_seen(query.collections, request, services))
    with context_of(request).stage("work"):
        search = search_images(
            query,
            serving=services.serving,
            collections=services.collections,
            image_urls=services.image_urls,
            reserve=memory_reserver(request),
        )
        found = await cancel_on_disconnect(request, search)
    with context_of(request).stage("serialise"):
        content = SearchResponse.of(found)
    return json_response(request, content)


def _seen(names: Sequence[str], request: Request, services: Services) -> Sequence[str]:
    """The collections to search, for ALL_COLLECTIONS all that the key sees. Raises NotFound for others."""
    caller = caller_of(request)
    if list(names) == [ALL_COLLECTIONS]:
        return [one.name for one in services.collections if caller.sees(one.name)]
    for name in names:
        caller.require_seen(name)
    return names

"""`/search`: images of a collection by words, by an image, by one of its own, or by a mix."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from diptych.core.collections.filter_parser import parse_filter
from diptych.core.collections.filters import Filter
from diptych.core.collections.search import SearchInput, StoredImage, WeightedQuery, search_collection
from diptych.core.fetching.image_urls import ImageUrl
from diptych.core.limits import Limits
from diptych.core.services import Services
from diptych.http.cancel_on_disconnect import while_connected
from diptych.http.context import context_of
from diptych.http.description import body_of
from diptych.http.endpoints.references import Links, ModelRef
from diptych.http.errors.documented_errors import BODY, GUARDED, refusals
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MULTIPART, media_type, unsupported
from diptych.http.middleware.body_budget import room_of
from diptych.http.options import HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.json_images import check_image_bytes, read_image
from diptych.http.parsing.limits import check_at_most, check_count, check_lengths, check_query_text
from diptych.http.parsing.multipart import Part, read_parts
from diptych.http.parsing.request_models import (
    IMAGE_FIELD,
    FilterObject,
    ImageUri,
    Listed,
    NoQuery,
    RequestModel,
    Whole,
    require_exactly_one,
)
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices, at_work

ACCEPTED = (JSON, MULTIPART)
_OPTIONS = ("k", "offset", "collection", "exact", "min_relevance")
_FIELDS = ("image", "text", "filter", *_OPTIONS)
MAX_QUERIES = 32
QueryText = Annotated[str, WithJsonSchema(schemas.QUERY_TEXT)]


class QueryItem(RequestModel):
    """One text, one image or the id of an image of the collection; a negative weight leads away from it."""

    model_config = ConfigDict(json_schema_extra=schemas.exactly_one("text", "image", "id"))

    text: QueryText | None = None
    image: ImageUri | None = IMAGE_FIELD
    id: str | None = None
    weight: float = Field(1.0, json_schema_extra={"not": {"const": 0}})

    @model_validator(mode="after")
    def _one(self) -> Self:
        return require_exactly_one(self, "text", "image", "id")


class SearchOptions(RequestModel):
    """The part of a search that is the same in JSON, in a form and in a query string."""

    k: Whole = Field(10, ge=1, json_schema_extra=schemas.limited(maximum="max_k"))
    offset: Whole = Field(0, ge=0, json_schema_extra=schemas.limited(maximum="max_offset"))
    collection: str | None = None
    exact: bool = False
    min_relevance: Annotated[
        float | None,
        Field(ge=0, le=1, description="relevance is not calibrated yet: a bound on it is a 422"),
        WithJsonSchema({"type": "null"}),
    ] = None


_Queries = Annotated[list[QueryItem], Field(min_length=1, max_length=MAX_QUERIES)]


def _as_list(query: object) -> object:
    if not isinstance(query, dict | list):
        message = 'must be an object such as {"text": "a red car"}, or a list of them'
        raise PydanticCustomError("no_query", message)
    return [query] if isinstance(query, dict) else query


class SearchRequest(SearchOptions):
    """`POST /search` as JSON."""

    query: Annotated[
        Listed[QueryItem], BeforeValidator(_as_list, json_schema_input_type=QueryItem | _Queries)
    ]
    filter: FilterObject | None = None


class SearchQuery(SearchOptions):
    """`GET /search`."""

    q: QueryText = Field(description="the text to look for")
    filter: Annotated[str | None, WithJsonSchema(schemas.FILTER_TEXT)] = Field(
        None, description="the filter as JSON"
    )


class HitResponse(BaseModel):
    """`relevance` is null until the model's cosines are calibrated."""

    id: str
    cosine: float
    relevance: float | None
    metadata: dict[str, Any]
    links: Links


class SearchResponse(BaseModel):
    """Hits, best first. `truncated`: a text of the query was cut to the context."""

    model: ModelRef
    collection: str
    hits: list[HitResponse]
    truncated: bool


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


async def read_search(request: Request, options: HttpOptions) -> SearchInput:
    """Either of the accepted bodies. Raises InputError naming the item, HTTPException 415 and 408."""
    kind = media_type(request)
    if kind == JSON:
        return await read_json(await read_body(request, options.body), partial(_from_json, options=options))
    if kind == MULTIPART:
        parts = await read_parts(
            request, options.body, MAX_QUERIES + len(_FIELDS), f"at most {MAX_QUERIES} queries"
        )
        return _from_form(Form(parts, _FIELDS), options)
    raise unsupported(request, ACCEPTED)


def search_of_query_string(asked: SearchQuery, options: HttpOptions) -> SearchInput:
    """`GET /search?q=...`; errors name the parameter."""
    _check_options(asked, options.limits)
    filter = None if asked.filter is None else parse_filter(parse_json(asked.filter, "filter"))
    query = WeightedQuery(check_query_text(asked.q, "q", options.limits), "q")
    return _input([query], filter, asked, options)


def _from_json(body: bytearray, options: HttpOptions) -> SearchInput:
    limits = options.limits
    asked = validated(SearchRequest, check_lengths(parse_json(body), {"query": MAX_QUERIES}))
    check_count(asked.query, "query", MAX_QUERIES)
    _check_options(asked, limits)
    queries = [_from_item(item, f"query[{i}]", limits) for i, item in enumerate(asked.query)]
    filter = None if asked.filter is None else parse_filter(asked.filter)
    return _input(queries, filter, asked, options)


def _from_item(item: QueryItem, name: str, limits: Limits) -> WeightedQuery:
    return WeightedQuery(_query_of(item, name, limits), name, item.weight)


def _query_of(item: QueryItem, name: str, limits: Limits) -> str | bytes | StoredImage | ImageUrl:
    if item.image is not None:
        return read_image(item.image, name, limits.max_image_bytes)
    if item.id is not None:
        return StoredImage(item.id)
    assert item.text is not None, "validated"
    return check_query_text(item.text, name, limits)


def _from_form(form: Form, options: HttpOptions) -> SearchInput:
    parts = list(form.parts("image", "text"))
    check_count(parts, "query", MAX_QUERIES)
    queries = [_from_part(part, f"query[{i}]", options.limits) for i, part in enumerate(parts)]
    asked = validated(SearchOptions, form.given(*_OPTIONS), strict=False)
    _check_options(asked, options.limits)
    filter = form.json("filter")
    return _input(queries, None if filter is None else parse_filter(filter), asked, options)


def _from_part(part: Part, name: str, limits: Limits) -> WeightedQuery:
    if part.name == "image":
        return WeightedQuery(check_image_bytes(part.data, name, limits.max_image_bytes), name)
    return WeightedQuery(check_query_text(part.text(name), name, limits), name)


def _input(
    queries: Sequence[WeightedQuery], filter: Filter | None, asked: SearchOptions, options: HttpOptions
) -> SearchInput:
    return SearchInput(
        queries=queries,
        collection=asked.collection or options.default_collection,
        k=asked.k,
        offset=asked.offset,
        filter=filter,
        exact=asked.exact,
        min_relevance=asked.min_relevance,
    )


def _check_options(options: SearchOptions, limits: Limits) -> None:
    check_at_most(options.k, "k", limits.max_k)
    check_at_most(options.offset, "offset", limits.max_offset)

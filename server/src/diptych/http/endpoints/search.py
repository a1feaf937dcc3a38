"""`/search`: search collections by texts, images, its own images, or a weighted mix of them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from diptych.bundle.calibration import RECOMMENDED_RELEVANCE
from diptych.core.collections.duplicates import MAX_FOLDED
from diptych.core.collections.metadata.facets import MAX_VALUES, Facet
from diptych.core.collections.metadata.filter_parser import parse_filter, parse_path
from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.search import (
    MAX_COLLECTIONS,
    SearchInput,
    WeightedQuery,
    search_collection,
)
from diptych.core.fetching.image_urls import ImageUrl
from diptych.core.limits import Limits
from diptych.core.services import Services
from diptych.core.types import Hit, StoredImage
from diptych.errors import InvalidValue, TooLarge
from diptych.http.access import GuardedRoute, caller_of
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.endpoints.references import EXAMPLE_LINKS, EXAMPLE_MODEL, Links, ModelRef
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, documented_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MULTIPART, media_type, unsupported
from diptych.http.middleware.body_budget import memory_reserver
from diptych.http.options import HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.json_images import check_image_bytes, parse_image_uri
from diptych.http.parsing.limits import check_at_most, check_count, check_lengths, check_query_text
from diptych.http.parsing.multipart import Part, read_parts
from diptych.http.parsing.request_models import (
    IMAGE_FIELD,
    FailFastList,
    FilterObject,
    ImageUri,
    NoQuery,
    RequestModel,
    WholeNumber,
    require_exactly_one,
)
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices, ready_services

_ACCEPTED = (JSON, MULTIPART)
_OPTIONS = ("k", "offset", "collection", "exact", "min_relevance", "collapse")
_LISTS = ("facets", "collections")
_FIELDS = ("image", "text", "filter", *_LISTS, *_OPTIONS)
MAX_QUERIES = 32
ALL_COLLECTIONS = "*"
MAX_FACETS = 8
MAX_PARTS = MAX_QUERIES + MAX_FACETS + MAX_COLLECTIONS + len(_FIELDS)  # of a form
QueryText = Annotated[str, WithJsonSchema(schemas.QUERY_TEXT)]
_COLLECTIONS: schemas.Schema = {"minItems": 1, "maxItems": MAX_COLLECTIONS, "items": schemas.STRING}
_FACETS: schemas.Schema = {"maxItems": MAX_FACETS, "items": {"type": "string", "pattern": schemas.PATH}}


class QueryItem(RequestModel):
    """One text, image, or id of an image in the collection, which is itself no hit.

    A negative weight searches for its opposite. An id needs `collection` when several are searched.
    """

    model_config = ConfigDict(
        json_schema_extra=schemas.any_rule(
            schemas.exactly_one("text", "image", without=["collection"]), schemas.exactly_one("id")
        )
    )

    text: QueryText | None = None
    image: ImageUri | None = IMAGE_FIELD
    id: str | None = None
    collection: str | None = Field(None, description="the collection of the image with this id")
    weight: float = Field(1.0, json_schema_extra={"not": {"const": 0}})

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.collection is not None and self.id is None:
            raise ValueError("collection stands beside an id only")
        return require_exactly_one(self, "text", "image", "id")


def _one_error(value: object, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise PydanticCustomError(
            "collapse", 'must be "bytes", "picture" or a cosine above 0, at most 1'
        ) from None


class SearchOptions(RequestModel):
    """Options of `/search`, in JSON, in a form and in a query string."""

    k: WholeNumber = Field(10, ge=1, json_schema_extra=schemas.limited(maximum="max_k"))
    offset: WholeNumber = Field(0, ge=0, json_schema_extra=schemas.limited(maximum="max_offset"))
    collection: str | None = None
    collections: FailFastList[str] = Field(
        default_factory=list,  # an empty list in a request is an error
        min_length=1,
        description='instead of `collection`: several of one model and version, or ["*"] for all',
        json_schema_extra=_COLLECTIONS,
    )
    exact: bool = False
    min_relevance: float | None = Field(
        None,
        ge=0,
        le=1,
        description=f"leave out hits with less relevance, such as {RECOMMENDED_RELEVANCE['text']}; "
        "a 422 if it is unknown",
    )
    collapse: Annotated[
        Literal["bytes", "picture"] | Annotated[float, Field(gt=0, le=1)] | None,
        WrapValidator(_one_error),
        Field(
            description="fold images with the same bytes, of the same picture, or with at least this cosine, "
            "into the best"
        ),
    ] = None
    facets: FailFastList[str] = Field(
        [],
        description="metadata fields whose values are counted among the best hits, as many as `k` may be",
        json_schema_extra=_FACETS,
    )


_Queries = Annotated[list[QueryItem], Field(min_length=1, max_length=MAX_QUERIES)]


def _as_list(query: object) -> object:
    if not isinstance(query, dict | list):
        message = 'must be an object such as {"text": "a red car"}, or a list of them'
        raise PydanticCustomError("no_query", message)
    return [query] if isinstance(query, dict) else query


class SearchRequest(SearchOptions):
    """`POST /search` as JSON."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {"query": {"text": "a black cat"}, "k": 5, "filter": {"year": {"gte": 2000}}},
            {"query": [{"text": "a cat"}, {"text": "a drawing", "weight": -0.5}], "facets": ["year"]},
            {"query": {"image": schemas.EXAMPLE_URI}, "k": 5},
        )
    )

    query: Annotated[
        FailFastList[QueryItem], BeforeValidator(_as_list, json_schema_input_type=QueryItem | _Queries)
    ]
    filter: FilterObject | None = None


class SearchQuery(SearchOptions):
    """`GET /search`."""

    q: QueryText = Field(description="the text to look for")
    filter: Annotated[str | None, WithJsonSchema(schemas.FILTER_TEXT)] = Field(
        None, description="the filter as JSON"
    )


class DuplicateResponse(BaseModel):
    """An image that was folded into a hit: it has the same bytes, is the same picture, or is near to it."""

    id: str
    kind: Literal["bytes", "picture", "near"]
    collection: str


class HitResponse(BaseModel):
    """One result. `relevance` is the probability that it is what was meant, null if the model is not
    calibrated.

    `duplicates` were folded into it by `collapse`.
    """

    id: str
    cosine: float
    relevance: float | None
    metadata: dict[str, Any]
    links: Links
    duplicates: list[DuplicateResponse]
    collection: str

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """Describe a hit."""
        return cls(
            id=hit.id,
            cosine=hit.cosine,
            relevance=hit.relevance,
            metadata=hit.metadata,
            links=Links.of(hit.collection, hit.id),
            duplicates=[
                DuplicateResponse(id=one.id, kind=one.kind, collection=one.collection)
                for one in hit.duplicates
            ],
            collection=hit.collection,
        )


class FacetValueResponse(BaseModel):
    """A value of a metadata field, and how many of the counted hits have it."""

    value: str | int | float | bool | None
    count: int


class FacetResponse(BaseModel):
    """The most frequent values of a metadata field among the `n_hits` best hits."""

    field: str
    n_hits: int
    values: list[FacetValueResponse] = Field(json_schema_extra={"maxItems": MAX_VALUES})

    @classmethod
    def of(cls, facet: Facet) -> Self:
        """Describe a facet."""
        values = [FacetValueResponse(value=value, count=n) for value, n in facet.values]
        return cls(field=".".join(facet.path), n_hits=facet.n_hits, values=values)


class SearchResponse(BaseModel):
    """Hits, best first. `truncated`: a text of the query was too long and was cut.

    `facets` has those that were asked for, in their order. `collection` is null if several were searched.
    """

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "model": EXAMPLE_MODEL,
                "collection": "gallery",
                "collections": ["gallery"],
                "hits": [
                    {
                        "id": "cat",
                        "cosine": 0.284,
                        "relevance": 0.93,
                        "metadata": {"title": "cat", "year": 2001},
                        "links": EXAMPLE_LINKS,
                        "duplicates": [{"id": "cat-copy", "kind": "bytes", "collection": "gallery"}],
                        "collection": "gallery",
                    }
                ],
                "truncated": False,
                "facets": [{"field": "year", "n_hits": 100, "values": [{"value": 2001, "count": 12}]}],
            }
        )
    )

    model: ModelRef
    collection: str | None
    collections: list[str]
    hits: list[HitResponse]
    truncated: bool
    facets: list[FacetResponse]


router = APIRouter(tags=["search"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)
_QUERIES: schemas.Schema = {"type": "array", "minItems": 1, "maxItems": MAX_QUERIES}
_FORM = schemas.form(
    {
        "image": {**_QUERIES, "items": schemas.FILE},
        "text": {**_QUERIES, "items": schemas.QUERY_TEXT},
        "k": {"type": "integer", "minimum": 1, **schemas.limited(maximum="max_k")},
        "offset": {"type": "integer", "minimum": 0, **schemas.limited(maximum="max_offset")},
        "filter": schemas.json_field(schemas.ref("Filter"), "on metadata"),
        "collection": schemas.STRING,
        "collections": {"type": "array", **_COLLECTIONS},
        "exact": {"type": "boolean"},
        "min_relevance": {"type": "number", "minimum": 0, "maximum": 1},
        "facets": {"type": "array", **_FACETS},
        "collapse": {
            "anyOf": [{"enum": ["bytes", "picture"]}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}]
        },
    },
    anyOf=[{"required": ["image"]}, {"required": ["text"]}],
    examples=[
        {"text": ["a black cat"], "image": [schemas.EXAMPLE_FILE], "k": 5, "filter": {"year": {"gte": 2000}}}
    ],
)


@router.get(
    "/search",
    summary="Search by words",
    response_model=SearchResponse,
    responses=documented_errors(400, 404, 409, 413, 422, 429),
)
async def search_by_words(
    request: Request, services: ReadyServices, options: Options, parameters: Annotated[SearchQuery, Query()]
) -> Response:
    """Find the `k` images that fit the text best, best first."""
    with context_of(request).stage("parse"):
        query = search_of_query_string(parameters, options)
    return await _respond(request, services, query)


@router.post(
    "/search",
    summary="Search by words, images or both",
    response_model=SearchResponse,
    responses=documented_errors(404, 409, *BODY_ERRORS),
    openapi_extra=request_body(SearchRequest, _FORM),
)
async def search(request: Request, _: NoQuery) -> Response:
    """Find the `k` images that fit the query best, best first; several queries are mixed by weight.

    `exact` compares all images even where the collection's `recall` is below 1.
    """
    services, options = ready_services(request)
    with context_of(request).stage("parse"):
        query = await read_search(request, options)
    return await _respond(request, services, query)


async def _respond(request: Request, services: Services, query: SearchInput) -> Response:
    query = replace(query, collections=_seen(query.collections, request, services))
    with context_of(request).stage("work"):
        search = search_collection(
            query,
            collections=services.collections,
            image_urls=services.image_urls,
            reserve=memory_reserver(request),
        )
        found = await cancel_on_disconnect(request, search)
    with context_of(request).stage("serialise"):
        hits = [HitResponse.of(hit) for hit in found.hits]
    model = ModelRef.of(found.model)
    content = SearchResponse(
        model=model,
        collection=found.collections[0] if len(found.collections) == 1 else None,
        collections=found.collections,
        hits=hits,
        truncated=found.truncated,
        facets=[FacetResponse.of(facet) for facet in found.facets],
    )
    return json_response(request, content)


def _seen(names: Sequence[str], request: Request, services: Services) -> Sequence[str]:
    """The collections to search, for ALL_COLLECTIONS all that the key sees. Raises NotFound for others."""
    caller = caller_of(request)
    if list(names) == [ALL_COLLECTIONS]:
        return [one.name for one in services.collections.loaded() if caller.sees(one.name)]
    for name in names:
        caller.require_seen(name)
    return names


async def read_search(request: Request, options: HttpOptions) -> SearchInput:
    """Read either of the accepted bodies.

    Raises InputError that names the item, HTTPException 415 and 408.
    """
    kind = media_type(request)
    if kind == JSON:
        return await read_json(await read_body(request, options.body), partial(_from_json, options=options))
    if kind == MULTIPART:
        parts = await read_parts(request, options.body, MAX_PARTS, f"at most {MAX_QUERIES} queries")
        return _from_form(Form(parts, _FIELDS), options)
    raise unsupported(request, _ACCEPTED)


def search_of_query_string(parameters: SearchQuery, options: HttpOptions) -> SearchInput:
    """Read `GET /search?q=...`. Errors name the parameter."""
    _check_options(parameters, options.limits)
    text = parameters.filter
    filter = None if text is None else parse_filter(parse_json(text, "filter"))
    query = WeightedQuery(check_query_text(parameters.q, "q", options.limits), "q")
    return _input([query], filter, parameters, options)


def _from_json(body: bytearray, options: HttpOptions) -> SearchInput:
    limits = options.limits
    body_model = validated(SearchRequest, check_lengths(parse_json(body), {"query": MAX_QUERIES}))
    check_count(body_model.query, "query", MAX_QUERIES)
    _check_options(body_model, limits)
    queries = [_from_item(item, f"query[{i}]", limits) for i, item in enumerate(body_model.query)]
    filter = None if body_model.filter is None else parse_filter(body_model.filter)
    return _input(queries, filter, body_model, options)


def _from_item(item: QueryItem, name: str, limits: Limits) -> WeightedQuery:
    return WeightedQuery(_query_of(item, name, limits), name, item.weight)


def _query_of(item: QueryItem, name: str, limits: Limits) -> str | bytes | StoredImage | ImageUrl:
    if item.image is not None:
        return parse_image_uri(item.image, name, limits.max_image_bytes)
    if item.id is not None:
        return StoredImage(item.id, item.collection)
    assert item.text is not None, "validated"
    return check_query_text(item.text, name, limits)


def _from_form(form: Form, options: HttpOptions) -> SearchInput:
    parts = list(form.parts("image", "text"))
    check_count(parts, "query", MAX_QUERIES)
    queries = [_from_part(part, f"query[{i}]", options.limits) for i, part in enumerate(parts)]
    lists = {name: [part.text(name) for part in form.parts(name)] for name in _LISTS}
    given = {name: texts for name, texts in lists.items() if texts}
    values = validated(SearchOptions, form.values(*_OPTIONS) | given, strict=False)
    _check_options(values, options.limits)
    filter = form.json("filter")
    return _input(queries, None if filter is None else parse_filter(filter), values, options)


def _from_part(part: Part, name: str, limits: Limits) -> WeightedQuery:
    if part.name == "image":
        return WeightedQuery(check_image_bytes(part.data, name, limits.max_image_bytes), name)
    return WeightedQuery(check_query_text(part.text(name), name, limits), name)


def _input(
    queries: Sequence[WeightedQuery], filter: Filter | None, values: SearchOptions, options: HttpOptions
) -> SearchInput:
    return SearchInput(
        queries=queries,
        collections=values.collections or [values.collection or options.default_collection],
        k=values.k,
        offset=values.offset,
        filter=filter,
        exact=values.exact,
        min_relevance=values.min_relevance,
        facets=[parse_path(field, f"facets[{i}]") for i, field in enumerate(values.facets)],
        n_counted=options.limits.max_k,
        collapse=values.collapse,
    )


def _check_options(options: SearchOptions, limits: Limits) -> None:
    check_at_most(options.k, "k", limits.max_k)
    check_at_most(options.offset, "offset", limits.max_offset)
    end = options.offset + options.k
    if options.collapse is not None and end > MAX_FOLDED:
        raise InvalidValue(f"k + offset is {end}, limit with collapse is {MAX_FOLDED}", "offset")
    if options.collection is not None and options.collections:
        raise InvalidValue("give collection or collections, not both", "collections")
    if ALL_COLLECTIONS in options.collections and len(options.collections) > 1:
        raise InvalidValue("* is all collections: it stands alone", "collections")
    if len(options.collections) > MAX_COLLECTIONS:
        raise TooLarge(f"{len(options.collections)} items, limit is {MAX_COLLECTIONS}", "collections")
    if len(options.facets) > MAX_FACETS:
        raise TooLarge(f"{len(options.facets)} items, limit is {MAX_FACETS}", "facets")

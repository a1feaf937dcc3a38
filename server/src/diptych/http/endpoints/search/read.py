"""Read a request of `/search`: JSON, a form or a query string -> `SearchInput`."""

from collections.abc import Sequence
from functools import partial

from fastapi import Request

from diptych.core.collections.metadata.filter_parser import parse_filter, parse_path
from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.metadata.ordering import OrderBy
from diptych.core.collections.search import MAX_COLLECTIONS, MAX_SORTED, SearchInput, WeightedQuery
from diptych.core.collections.stored.duplicates import MAX_FOLDED
from diptych.core.fetching.image_urls import ImageUrl
from diptych.core.limits import Limits
from diptych.core.types import StoredImage
from diptych.errors import InvalidValue, TooLarge
from diptych.http.endpoints.search.request import (
    ALL_COLLECTIONS,
    MAX_FACETS,
    MAX_QUERIES,
    FlatOptions,
    QueryItem,
    SearchOptions,
    SearchQuery,
    SearchRequest,
)
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MULTIPART, media_type, unsupported
from diptych.http.options import HttpOptions
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import filter_of_query, parse_json, read_json
from diptych.http.parsing.json_images import check_image_bytes, parse_image_uri
from diptych.http.parsing.limits import check_at_most, check_count, check_lengths, check_query_text
from diptych.http.parsing.multipart import Part, read_parts
from diptych.http.parsing.request_models import parse_order

_ACCEPTED = (JSON, MULTIPART)
_OPTIONS = (
    "k",
    "offset",
    "collection",
    "exact",
    "min_relevance",
    "match",
    "collapse",
    "order_by",
    "direction",
)
_LISTS = ("facets", "collections")
_FIELDS = ("image", "text", "filter", *_LISTS, *_OPTIONS)
MAX_PARTS = MAX_QUERIES + MAX_FACETS + MAX_COLLECTIONS + len(_FIELDS)  # of a form


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
    filter = filter_of_query(parameters.filter)
    query = WeightedQuery(check_query_text(parameters.q, "q", options.limits), "q")
    order_by = parse_order(parameters.order_by, parameters.direction)
    return _input([query], filter, order_by, parameters, options)


def _from_json(body: bytearray, options: HttpOptions) -> SearchInput:
    limits = options.limits
    body_model = validated(SearchRequest, check_lengths(parse_json(body), {"query": MAX_QUERIES}))
    check_count(body_model.query, "query", MAX_QUERIES)
    _check_options(body_model, limits)
    queries = [_from_item(item, f"query[{i}]", limits) for i, item in enumerate(body_model.query)]
    filter = None if body_model.filter is None else parse_filter(body_model.filter)
    item = body_model.order_by
    order_by = None if item is None else OrderBy(parse_path(item.field, "order_by.field"), item.direction)
    return _input(queries, filter, order_by, body_model, options)


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
    values = validated(FlatOptions, form.values(*_OPTIONS) | given, strict=False)
    _check_options(values, options.limits)
    filter = form.json("filter")
    order_by = parse_order(values.order_by, values.direction)
    return _input(queries, None if filter is None else parse_filter(filter), order_by, values, options)


def _from_part(part: Part, name: str, limits: Limits) -> WeightedQuery:
    if part.name == "image":
        return WeightedQuery(check_image_bytes(part.data, name, limits.max_image_bytes), name)
    return WeightedQuery(check_query_text(part.text(name), name, limits), name)


def _input(
    queries: Sequence[WeightedQuery],
    filter: Filter | None,
    order_by: OrderBy | None,
    values: SearchOptions,
    options: HttpOptions,
) -> SearchInput:
    if order_by is not None and values.offset + values.k > MAX_SORTED:
        end = values.offset + values.k
        raise InvalidValue(f"k + offset is {end}, limit with order_by is {MAX_SORTED}", "offset")
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
        match=values.match,
        order_by=order_by,
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

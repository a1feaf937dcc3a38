"""Read what `/search` is asked, from JSON, a form or a query string. Knows nothing of searching."""

from collections.abc import Sequence
from functools import partial

from starlette.requests import Request

from diptych.core.collections.filter_parser import parse_filter
from diptych.core.collections.filters import Filter
from diptych.core.collections.search import SearchInput, StoredImage, WeightedQuery
from diptych.core.fetching.image_urls import ImageUrl
from diptych.core.limits import Limits
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MULTIPART, media_type, unsupported
from diptych.http.options import HttpOptions
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.json_images import check_image_bytes, read_image
from diptych.http.parsing.limits import check_at_most, check_count, check_lengths, check_query_text
from diptych.http.parsing.multipart import Part, read_parts
from diptych.http.requests import MAX_QUERIES, QueryItem, SearchOptions, SearchQuery, SearchRequest

ACCEPTED = (JSON, MULTIPART)
_OPTIONS = ("k", "offset", "collection", "exact", "min_relevance")
_FIELDS = ("image", "text", "filter", *_OPTIONS)


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

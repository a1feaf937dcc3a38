"""Read what `/search` is asked, from JSON, a form or a query string. Knows nothing of searching."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request

from diptych.core.collections.filter_parser import parse_filter
from diptych.core.collections.filters import Filter
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


@dataclass(frozen=True)
class StoredImage:
    """A query by an image of the collection."""

    id: str


Ready = str | bytes | StoredImage  # a text, the bytes of an image file, or an id
Query = Ready | ImageUrl


@dataclass(frozen=True)
class ParsedSearch:
    """Queries to mix by weight; errors name `query[i]`."""

    queries: Sequence[Query]
    weights: Sequence[float]
    filter: Filter | None
    options: SearchOptions


async def read_search(request: Request, options: HttpOptions) -> ParsedSearch:
    """Either of the accepted bodies. Raises InputError naming the item, HTTPException 415 and 408."""
    kind, limits = media_type(request), options.limits
    if kind == JSON:
        return await read_json(await read_body(request, options.body), partial(_from_json, limits=limits))
    if kind == MULTIPART:
        parts = await read_parts(
            request, options.body, MAX_QUERIES + len(_FIELDS), f"at most {MAX_QUERIES} queries"
        )
        return _from_form(Form(parts, _FIELDS), limits)
    raise unsupported(request, ACCEPTED)


def search_of_query_string(asked: SearchQuery, limits: Limits) -> ParsedSearch:
    """`GET /search?q=...`; errors name the parameter."""
    _check_options(asked, limits)
    filter = None if asked.filter is None else parse_filter(parse_json(asked.filter, "filter"))
    return ParsedSearch([check_query_text(asked.q, "q", limits)], [1.0], filter, asked)


def _from_json(body: bytearray, limits: Limits) -> ParsedSearch:
    asked = validated(SearchRequest, check_lengths(parse_json(body), {"query": MAX_QUERIES}))
    check_count(asked.query, "query", MAX_QUERIES)
    _check_options(asked, limits)
    queries = [_from_item(item, f"query[{i}]", limits) for i, item in enumerate(asked.query)]
    filter = None if asked.filter is None else parse_filter(asked.filter)
    return ParsedSearch(queries, [item.weight for item in asked.query], filter, asked)


def _from_item(item: QueryItem, name: str, limits: Limits) -> Query:
    if item.image is not None:
        return read_image(item.image, name, limits.max_image_bytes)
    if item.id is not None:
        return StoredImage(item.id)
    assert item.text is not None, "validated"
    return check_query_text(item.text, name, limits)


def _from_form(form: Form, limits: Limits) -> ParsedSearch:
    parts = list(form.parts("image", "text"))
    check_count(parts, "query", MAX_QUERIES)
    queries = [_from_part(part, f"query[{i}]", limits) for i, part in enumerate(parts)]
    asked = validated(SearchOptions, form.given(*_OPTIONS), strict=False)
    _check_options(asked, limits)
    filter = form.json("filter")
    return ParsedSearch(
        queries, [1.0] * len(queries), None if filter is None else parse_filter(filter), asked
    )


def _from_part(part: Part, name: str, limits: Limits) -> Query:
    if part.name == "image":
        return check_image_bytes(part.data, name, limits.max_image_bytes)
    return check_query_text(part.text(name), name, limits)


def _check_options(options: SearchOptions, limits: Limits) -> None:
    check_at_most(options.k, "k", limits.max_k)
    check_at_most(options.offset, "offset", limits.max_offset)

"""`search`: find images of collections by a text, an image, the id of an image, or a weighted mix."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from diptych_client.binding import Call
from diptych_client.errors import InvalidCall
from diptych_client.images import ImageSource, ImageUrl, load
from diptych_client.results.common import Json
from diptych_client.results.searching import SearchResult
from diptych_client.steps import Request, Steps, result_of


@dataclass(frozen=True)
class Query:
    """One part of a weighted query. Give exactly one of `text`, `image` and `id`.

    An `id` needs its `collection` when several collections are searched.
    """

    text: str | None = None
    image: ImageSource | None = None
    id: str | None = None
    weight: float = 1.0
    collection: str | None = None


def search(
    text: str | None = None,
    *,
    image: ImageSource | None = None,
    id: str | None = None,
    queries: Sequence[Query] | None = None,
    k: int = 10,
    offset: int = 0,
    filter: Json | None = None,
    collection: str | None = None,
    exact: bool = False,
    min_relevance: float | None = None,
    facets: Sequence[str] = (),
    collapse: Literal["bytes", "picture"] | float | None = None,
    collections: Sequence[str] | None = None,
    match: Literal["meaning", "words", "both"] = "meaning",
    order_by: str | None = None,
    direction: Literal["asc", "desc"] | None = None,
) -> Steps[SearchResult]:
    """Find the `k` best images, best first, in the given collection or in the default one of the server.

    `collections` instead of `collection` are several of one model and version, or ["*"] for all; an empty
    list is refused.

    Give exactly one of `text`, `image`, `id` and `queries`; otherwise InvalidCall is raised. `filter` is a
    condition on metadata. `facets` are metadata fields whose values are counted among the best hits.
    Hits with less than `min_relevance` are left out: an empty answer means that nothing fits. `collapse`
    folds images with the same bytes, of the same picture, or with at least this cosine, into the best of
    them. `match` is what finds hits: the meaning of the query, the words of its one text in names and
    metadata, or both; each hit says what found it in `matched`. Raises ApiError when the server refuses the
    query.

    `order_by` sorts the hits that may fit by a field of their metadata, such as the date of the picture, with
    the direction "desc" the largest or latest first. These are the hits with `min_relevance`, or with the
    relevance that is recommended. `sorted_all` of the result is False if there are more than were sorted.

    >>> hits = client.search("a sleeping cat", collection="pets", k=3).hits
    >>> sorted(hit.id for hit in hits)
    ['rex', 'tom']
    >>> like = client.search(image="cat.png", filter={"kind": "cat"}, collection="pets")
    >>> [(hit.id, hit.metadata) for hit in like.hits]
    [('tom', {'kind': 'cat'})]
    >>> by_words = client.search("cat", collection="pets", match="words").hits
    >>> [(hit.id, hit.matched, hit.matched_fields) for hit in by_words]
    [('tom', ('words',), ('kind',))]
    >>> mixed = [Query(id="tom"), Query(text="outdoors", weight=0.5), Query(text="a dog", weight=-0.5)]
    >>> len(client.search(queries=mixed, collection="pets", k=1).hits)
    1
    """
    given = (text is not None) + (image is not None) + (id is not None) + (queries is not None)
    if given != 1:
        raise InvalidCall(f"search takes exactly one of text, image, id and queries, not {given}")
    if direction is not None and order_by is None:
        raise InvalidCall("direction is given only with order_by")
    if queries is None:
        query: object = yield from _query_json(Query(text, image, id))
    else:
        mixed = []
        for part in queries:
            mixed.append({**(yield from _query_json(part)), "weight": part.weight})
        query = mixed
    body: Json = {"query": query, "k": k}
    optional = {
        "offset": offset or None,
        "filter": filter,
        "collection": collection,
        "exact": exact or None,
        "min_relevance": min_relevance,
        "facets": list(facets) or None,
        "collapse": collapse,
        "order_by": None if order_by is None else {"field": order_by, "direction": direction or "asc"},
        "collections": None if collections is None else list(collections),
        "match": None if match == "meaning" else match,
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    found = yield from result_of(Request("POST", "/search", json=body), SearchResult)
    if found.collections or found.collection is None:
        return found
    # A server of version 0.1 names the one collection, but not in its hits.
    hits = tuple(replace(hit, collection=found.collection) for hit in found.hits)
    return replace(found, hits=hits, collections=(found.collection,))


def _query_json(query: Query) -> Steps[Json]:
    """Return the query as JSON for the API. A local image becomes a data URI."""
    if (query.text is not None) + (query.image is not None) + (query.id is not None) != 1:
        raise InvalidCall("a query takes exactly one of text, image and id")
    if isinstance(query.image, ImageUrl):
        return {"image": query.image.url}
    if query.image is not None:
        payload = yield from load(query.image)
        return {"image": "data:application/octet-stream;base64," + b64encode(payload).decode("ascii")}
    if query.text is not None:
        return {"text": query.text}
    return {"id": query.id} | ({} if query.collection is None else {"collection": query.collection})


class SearchingCalls:
    """The calls of this module, as methods of both clients."""

    search = Call(search)

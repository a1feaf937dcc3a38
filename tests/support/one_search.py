"""Search a collection by one query, in one call."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from diptych.core.collections.search import (
    FetchedQuery,
    SearchInput,
    SearchResult,
    WeightedQuery,
    search_images,
)
from diptych.core.collections.service import Collections
from diptych.core.fetching.image_urls import ImageUrl, ImageUrls
from diptych.core.serving.snapshot import Serving
from diptych.core.types import Hit


class _NoUrls:
    """Fetches nothing: no query is a URL."""

    async def fetched(self, items: list[Any], prefix: str, reserve: object) -> list[Any]:
        assert not any(isinstance(item, ImageUrl) for item in items)
        return items


async def search_by_vector(
    serving: Serving, collections: Collections, name: str, query: NDArray[np.float32], k: int, **options: Any
) -> list[Hit]:
    """At most k hits for a query (D,) of any norm. `options` are those of a SearchInput."""
    unit = (query / np.linalg.norm(query)).astype(np.float32)
    return (await search_by(serving, collections, name, unit, k, **options)).hits


async def search_by(
    serving: Serving, collections: Collections, name: str, query: FetchedQuery, k: int, **options: Any
) -> SearchResult:
    """The result for a text, an image file, a stored image or a vector of unit norm."""
    request = SearchInput([WeightedQuery(query, "query[0]")], [name], k, **options)
    return await search_images(
        request,
        serving=serving,
        collections=collections,
        image_urls=cast(ImageUrls, _NoUrls()),
        reserve=lambda n_bytes: None,
    )

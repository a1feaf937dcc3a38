"""The hits of several collections as one ranking."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from diptych.core.collections.nearest import Finder
from diptych.core.collections.searcher import Candidates
from diptych.core.relevance.relevance import Relevance

# The approximate index of the first collection found the key 4 late.
FOUND = {"first": ([1, 2, 3, 4], [0.9, 0.8, 0.5, 0.7]), "second": ([5, 6, 7], [0.85, 0.6, 0.4])}


class FakeStore:
    """Finds FOUND, and knows the row of each key."""

    async def search(self, target: str, query: Any, n: int, filter: None, *, exact: bool) -> Candidates:
        keys, cosines = FOUND[target]
        return Candidates(np.array(keys[:n]), np.array(cosines[:n], np.float32), len(keys), is_complete=True)

    async def by_key(self, keys: list[int]) -> dict[int, Any]:
        return {key: SimpleNamespace(id=str(key), metadata={}, sha256="", collection="") for key in keys}


async def page(k: int, offset: int, *targets: Any) -> list[int]:
    store: Any = FakeStore()
    found = await Finder(store, store).nearest(
        targets, np.ones(1, np.float32), k=k, offset=offset, filter=None, relevance=Relevance()
    )
    return [hit.key for hit in found.hits]


async def test_hit_that_the_index_found_late_is_on_one_page() -> None:
    assert await page(4, 0, "first") == [1, 2, 3, 4]
    assert await page(2, 0, "first") + await page(2, 2, "first") == [1, 2, 3, 4]


async def test_collections_are_one_ranking_whatever_the_pages_are() -> None:
    whole = await page(7, 0, "first", "second")
    assert whole == [1, 5, 2, 6, 3, 4, 7]
    for k in (1, 2, 3):
        pages = [key for offset in range(0, 7, k) for key in await page(k, offset, "first", "second")]
        assert pages == whole

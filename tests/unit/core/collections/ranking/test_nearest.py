"""The hits of several collections as one ranking."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diptych.core.collections.ranking.nearest import Finder, Nearest
from diptych.core.collections.ranking.searcher import NO_MATCHES, Candidates
from diptych.core.relevance.relevance import Relevance
from diptych.core.types import WordMatches
from diptych.errors import NotReady

# The approximate index of the first collection found the key 4 late.
FOUND = {"first": ([1, 2, 3, 4], [0.9, 0.8, 0.5, 0.7]), "second": ([5, 6, 7], [0.85, 0.6, 0.4])}
WITH_WORDS = {"first": ([8, 3], [2.0, 0.5]), "second": ([7], [1.0])}
FURTHER = {8: 0.1}  # that meaning does not find


def target(name: str, *, asks_words: bool) -> Any:
    return SimpleNamespace(
        name=name, collection=SimpleNamespace(name=name, read_only=False), asks_words=asks_words
    )


class FakeStore:
    """Finds FOUND, and where words are asked for WITH_WORDS; knows the row of each key."""

    n_indexed = 4
    gone: frozenset[int] = frozenset()

    async def search(self, target: Any, query: Any, n: int, filter: None, *, exact: bool) -> Candidates:
        keys, cosines = FOUND[target.name]
        matches = NO_MATCHES
        if target.asks_words:
            carriers, scores = WITH_WORDS[target.name]
            matches = WordMatches(np.array(carriers), np.array(scores), 1, self.n_indexed, 4)
        return Candidates(np.array(keys[:n]), np.array(cosines[:n], np.float32), len(keys), True, matches)

    async def cosines(self, target: Any, query: Any, keys: Any) -> dict[int, float]:
        known = dict(FURTHER)
        for found in FOUND.values():
            known |= dict(zip(*found, strict=True))
        return {key: known[key] for key in keys.tolist() if key not in self.gone}

    async def by_key(self, keys: list[int]) -> dict[int, Any]:
        return {key: SimpleNamespace(id=str(key), metadata={}, sha256="", collection="") for key in keys}


class Judge(Relevance):
    """Takes the cosine for the relevance."""

    def of(self, query: Any, cosines: Any, best: float, n_images: int) -> list[float]:
        return [round(float(cosine), 3) for cosine in cosines]


async def search(
    *names: str, store: FakeStore | None = None, k: int = 10, offset: int = 0, **options: Any
) -> Nearest:
    found: Any = store or FakeStore()
    asks_words = options.get("match", "meaning") != "meaning"
    options.setdefault("relevance", Relevance())
    return await Finder(found, found).nearest(
        [target(name, asks_words=asks_words) for name in names],
        np.ones(1, np.float32),
        k=k,
        offset=offset,
        filter=None,
        **options,
    )


async def page(k: int, offset: int, *names: str, **options: Any) -> list[int]:
    return [hit.key for hit in (await search(*names, k=k, offset=offset, **options)).hits]


async def test_hit_that_the_index_found_late_is_on_one_page() -> None:
    assert await page(4, 0, "first") == [1, 2, 3, 4]
    assert await page(2, 0, "first") + await page(2, 2, "first") == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 5, 2, 6, 3, 4, 7]),
        ({"match": "words"}, [8, 7, 3]),
        ({"match": "both"}, [3, 7, 8, 1, 5, 2, 6, 4]),
        ({"match": "both", "relevance": Judge(min_relevance=0.75)}, [8, 7, 3, 1, 5, 2]),
    ],
)
async def test_collections_are_one_ranking_whatever_the_pages_are(
    options: dict[str, Any], expected: list[int]
) -> None:
    whole = await page(9, 0, "first", "second", **options)
    assert whole == expected
    for k in (1, 2, 3):
        pages = [
            key for offset in range(0, 9, k) for key in await page(k, offset, "first", "second", **options)
        ]
        assert pages == whole


async def test_a_hit_says_what_found_it_and_has_its_cosine_in_any_case() -> None:
    both = (await search("first", match="both", relevance=Judge(min_relevance=0.55))).hits
    assert {hit.key: (hit.cosine, hit.matched) for hit in both} == {
        1: (pytest.approx(0.9), ("meaning",)),
        2: (pytest.approx(0.8), ("meaning",)),
        3: (pytest.approx(0.5), ("words",)),
        4: (pytest.approx(0.7), ("meaning",)),
        8: (pytest.approx(0.1), ("words",)),
    }
    words = (await search("first", match="words", relevance=Judge())).hits
    assert [(hit.key, hit.relevance, hit.matched) for hit in words] == [
        (8, 0.1, ("words",)),
        (3, 0.5, ("words",)),
    ]


async def test_words_that_are_not_all_indexed_are_not_searched_alone() -> None:
    store = FakeStore()
    store.n_indexed = 3
    with pytest.raises(NotReady, match="the words of 3 of 4 images of collection 'first' are indexed"):
        await search("first", store=store, match="words")
    assert (await search("first", store=store, match="both")).words_incomplete
    assert not (await search("first", match="both")).words_incomplete


async def test_an_image_with_the_words_that_vanished_makes_the_search_incomplete() -> None:
    store = FakeStore()
    store.gone = frozenset({8})
    found = await search("first", store=store, match="both")
    assert (8 in [hit.key for hit in found.hits], found.is_complete) == (False, False)

"""How the queries of one search become one query, and which words they look for."""

import numpy as np
import pytest

from diptych.core.collections.metadata.words import parse_words
from diptych.core.collections.ranking.fusion import Match
from diptych.core.collections.search import FetchedQuery, WeightedQuery, mix, query_kind, words_of
from diptych.core.types import StoredImage
from diptych.errors import InvalidValue

IMAGE, STORED = b"bytes", StoredImage("a")


@pytest.mark.parametrize(
    ("queries", "kind"),
    [
        ([("red", 1.0)], "text"),
        ([(IMAGE, 1.0)], "image"),
        ([(STORED, 1.0)], "image"),
        ([("red", 1.0), (IMAGE, 1.0)], "text"),
        ([("red", 1.0), (IMAGE, 1.5)], "image"),
        ([("red", -2.0), (STORED, 1.0)], "text"),
        ([(IMAGE, 1.0), ("red", -0.5)], "image"),
    ],
)
def test_the_kind_of_a_mix_is_that_of_most_of_its_weight(
    queries: list[tuple[FetchedQuery, float]], kind: str
) -> None:
    assert query_kind([WeightedQuery(query, "query", weight) for query, weight in queries]) == kind


def test_mixed_query_is_the_unit_weighted_sum() -> None:
    x, y = np.eye(2, dtype=np.float32)
    assert mix([x], [0.001]) == pytest.approx(x)
    assert mix([x, y], [3.0, 4.0]) == pytest.approx([0.6, 0.8])
    assert mix([x, y], [3e300, 4e300]) == pytest.approx([0.6, 0.8])
    assert mix([x, y], [1.0, -1.0]) == pytest.approx([0.5**0.5, -(0.5**0.5)])


@pytest.mark.parametrize(
    ("weights", "words"),
    [([0.0], "weight is 0, so there is nothing to search for"), ([0.0, 0.0], "all weights are 0")],
)
def test_query_without_weight_is_refused(weights: list[float], words: str) -> None:
    x = np.array([1.0, 0.0], np.float32)
    with pytest.raises(InvalidValue, match=words):
        mix([x] * len(weights), weights)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_query_without_a_direction_is_refused(weights: list[float]) -> None:
    x = np.array([1, 0], np.float32)
    with pytest.raises(InvalidValue):
        mix([x, x], weights)


@pytest.mark.parametrize(
    ("match", "queries", "words"),
    [
        ("meaning", [("red car", 1.0), ("blue", 1.0)], None),
        ("words", [("red car", 0.5)], "red car"),
        ("both", [(IMAGE, 1.0), ("red car", 1.0), ("blue", -0.5), (STORED, -1.0)], "red car"),
        ("both", [("?!", 1.0)], ""),
    ],
)
def test_words_are_those_of_the_one_text_that_is_searched_for(
    match: Match, queries: list[tuple[FetchedQuery, float]], words: str | None
) -> None:
    found = words_of([WeightedQuery(query, "query", weight) for query, weight in queries], match)
    assert found == (None if words is None else parse_words(words))


@pytest.mark.parametrize(
    ("match", "queries", "field", "message"),
    [
        ("words", [(IMAGE, 1.0)], "match", '"words" needs a text of positive weight'),
        ("both", [("red", -1.0), (IMAGE, 1.0)], "match", '"both" needs a text of positive weight'),
        ("both", [("red", 1.0), (IMAGE, 1.0), ("car", 0.1)], "query[2]", "takes one text of positive weight"),
        ("words", [("red", 1.0), (IMAGE, 1.0)], "query[1]", "takes one text and nothing else"),
        ("words", [("blue", -0.5), ("red", 1.0)], "query[0]", "takes one text and nothing else"),
    ],
)
def test_queries_whose_words_are_unclear_are_refused_by_name(
    match: Match, queries: list[tuple[FetchedQuery, float]], field: str, message: str
) -> None:
    named = [WeightedQuery(query, f"query[{i}]", weight) for i, (query, weight) in enumerate(queries)]
    with pytest.raises(InvalidValue, match=message) as raised:
        words_of(named, match)
    assert raised.value.item == field

"""How the queries of one search become one query."""

import numpy as np
import pytest

from diptych.core.collections.search import FetchedQuery, WeightedQuery, mix, query_kind
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

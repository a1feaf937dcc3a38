import pytest

from diptych.core.collections.search import FetchedQuery, WeightedQuery, query_kind
from diptych.core.types import StoredImage

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

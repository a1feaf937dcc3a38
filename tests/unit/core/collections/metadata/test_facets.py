"""Counts of the values of a metadata field among hits."""

from typing import Any

import pytest

from diptych.core.collections.metadata.facets import MAX_VALUES, Folder, count_values, folders_of
from diptych.core.types import Hit


def hits(*metadata: dict[str, Any]) -> list[Hit]:
    return [Hit(str(i), 1.0, None, one, i, str(i), "pets") for i, one in enumerate(metadata)]


def test_most_frequent_values_come_first_and_equal_ones_in_the_order_of_hits() -> None:
    facet = count_values(("a",), hits({"a": "x"}, {"a": "z"}, {"a": "y"}, {"a": "y"}, {"b": "x"}))
    assert (facet.path, facet.n_hits) == (("a",), 5)
    assert facet.values == [("y", 2), ("x", 1), ("z", 1)]


def test_path_leads_into_nested_objects() -> None:
    facet = count_values(("place", "city"), hits({"place": {"city": "Oslo"}}, {"place": "Rome"}))
    assert facet.values == [("Oslo", 1)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["x", ["x", "y", "x"]], [("x", 2), ("y", 1)]),  # an element of an array counts once a hit
        ([1, 1.0, True, "1"], [(1, 2), (True, 1), ("1", 1)]),
        ([None, False, 0], [(None, 1), (False, 1), (0, 1)]),
        ([{"b": 1}, [[1]], []], []),
    ],
)
def test_values_are_told_apart_as_in_filters(values: list[Any], expected: list[Any]) -> None:
    found = count_values(("a",), hits(*({"a": value} for value in values))).values
    assert [(type(value), value, n) for value, n in found] == [(type(v), v, n) for v, n in expected]


def test_rare_values_are_left_out() -> None:
    found = count_values(("a",), hits({"a": list(range(MAX_VALUES + 1))}, {"a": MAX_VALUES})).values
    assert (len(found), found[0]) == (MAX_VALUES, (MAX_VALUES, 2))


def test_folders_are_counted_one_level_at_a_time() -> None:
    counts = {".": 9, "2024": 1, "2024/italy": 2, "2024/italy/rome": 4, "2024/oslo": 8, "2024b": 16}
    assert folders_of(counts, "") == [Folder(".", 9, 0), Folder("2024", 15, 2), Folder("2024b", 16, 0)]
    assert folders_of(counts, "2024") == [Folder("2024/italy", 6, 1), Folder("2024/oslo", 8, 0)]
    assert folders_of(counts, "2024/oslo") == folders_of(counts, ".") == folders_of({}, "") == []

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.collections.metadata.checks import to_json
from diptych.core.collections.metadata.ordering import OrderBy, cursor_of, in_order, place_at
from diptych.core.types import Hit
from diptych.errors import InvalidValue
from support.json_values import DOCUMENTS, PATHS

ABSENT = object()
ASCENDING = [
    [-3, 2.5, [10, 1], 10**30],
    ["2023", "2024-05-01T10:00:00+02:00", "2024-05-01T10:00:00", "2024-05-01T10:00:00-02:00", "2024-05-02"],
    ["2024-02-30", "A cat", "a cat", "B", "Straße", "strasse", "zoo", "Äpfel"],
    [False, [None, {}, True]],
]
LAST: list[Any] = [None, {"a": 1}, [], [[1], None], ABSENT]


def hits(values: list[Any]) -> list[Hit]:
    """One hit for each value of `a.b`, whose ids are in the order of the values."""
    return [
        Hit(f"i{n:02}", 0.5, None, {} if value is ABSENT else {"a": {"b": value}}, n, "", "c")
        for n, value in enumerate(values)
    ]


def test_each_kind_has_its_own_order_and_what_is_missing_comes_last() -> None:
    ordered = hits([*(value for kind in ASCENDING for value in kind), *LAST])
    assert in_order(ordered[::-1], OrderBy(("a", "b"))) == ordered


def test_the_largest_come_first_and_what_is_missing_still_last() -> None:
    ordered = hits([*(value for kind in ASCENDING for value in kind[::-1]), *LAST])
    assert in_order(ordered[::-1], OrderBy(("a", "b"), "desc")) == ordered


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_equal_values_come_by_id(direction: Any) -> None:
    equal = hits([1, 1.0, 1, 1])
    assert in_order(equal[::-1], OrderBy(("a", "b"), direction)) == equal


@given(DOCUMENTS, PATHS, st.sampled_from(["asc", "desc"]))
def test_cursor_is_the_place_of_its_image(documents: list[Any], path: Any, direction: Any) -> None:
    order_by = OrderBy(path, direction)
    for document in map(json.loads, map(to_json, documents)):
        cursor = cursor_of(order_by, document, "cat")
        assert cursor.isascii()
        assert place_at(cursor, order_by) == order_by.place_of(document, "cat")


def test_cursor_of_long_text_is_short() -> None:
    assert len(cursor_of(OrderBy(("a",) * 30), {"a": "😀" * 5_000}, "x" * 128)) < 4_000


@pytest.mark.parametrize("cursor", ["", "cat", "é", "W10", "WyJhIiwxLCJjYXQiXQ", "=" * 9, "W" * 9_999])
def test_other_text_is_no_cursor(cursor: str) -> None:
    with pytest.raises(InvalidValue, match="after: give the `next` of the page before, in the same order"):
        place_at(cursor, OrderBy(("a",)))


def test_cursor_of_another_order_is_refused() -> None:
    cursor = cursor_of(OrderBy(("a",)), json.loads('{"a": 1}'), "cat")
    for other in (OrderBy(("b",)), OrderBy(("a",), "desc")):
        with pytest.raises(InvalidValue, match="in the same order"):
            place_at(cursor, other)

from typing import Any

import pytest

from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.errors import InvalidValue

IMAGE = {
    "colour": "red",
    "year": 2005,
    "weight": 1.0,
    "ok": True,
    "nothing": None,
    "tags": ["cat", "dog"],
    "place": {"city": "Rome", "at": {"lat": 41.9}},
    "and": "a word",
    "title": "Größe der STRASSE",
    "taken": "2024-05-01T23:59:30+02:00",
    "local": "2024-05-01T23:59:30",
    "days": ["2023-01-01", "2025-01-01"],
}

PASS: list[Any] = [
    {"colour": "red"},
    {"colour": {"eq": "red"}},
    {"colour": {"ne": "blue"}},
    {"absent": {"ne": "blue"}},
    {"weight": 1},
    {"year": {"in": [1, 2005]}},
    {"year": {"gte": 2005, "lt": 2006}},
    {"year": {"gt": 2004.5, "lte": 2005}},
    {"colour": {"gte": "r", "lt": "s"}},
    {"place.city": "Rome"},
    {"place.at.lat": {"gt": 41}},
    {"place": {"eq": {"city": "Rome", "at": {"lat": 41.9}}}},
    {"tags": "cat"},
    {"tags": {"eq": ["cat", "dog"]}},
    {"tags": {"in": ["bird", "dog"]}},
    {"nothing": None},
    {"nothing": {"exists": True}},
    {"absent": {"exists": False}},
    {"not": {"colour": "blue"}},
    {"or": [{"colour": "blue"}, {"year": 2005}]},
    {"title": {"contains": "grösse"}},
    {"colour": {"under": "red"}},
    {"tags": {"under": "cat/"}},
    {"title": {"contains": "straße"}},
    {"tags": {"contains": "AT"}},
    {"taken": {"on": "2024"}},
    {"taken": {"on": "2024-05"}},
    {"taken": {"on": "2024-05-01"}},  # in the picture's own time, although it is May 1 for an hour elsewhere
    {"taken": {"lte": "2024-05-01"}},
    {"taken": {"gte": "2024-05-01", "lt": "2024-05-02"}},
    {"taken": {"on": "2024-05-01T21:59Z"}},  # at one instant
    {"taken": {"gt": "2024-05-01T21:59:29Z", "lt": "2024-05-01T21:59:31Z"}},
    {"local": {"on": "2024-05-01T23:59Z"}},  # without an offset the local times are compared
    {"days": {"on": "2025"}},
    {"colour": {"gt": "2024-05-01"}},  # no date: in code point order
    {"colour": {"gt": "2024-13"}},  # may be a number of a series
    {"and": [{"colour": "red"}, {"ok": True}]},
    {"colour": "red", "year": 2005},
]

FAIL: list[Any] = [
    {"colour": "Red"},
    {"colour": {"ne": "red"}},
    {"tags": {"ne": "cat"}},
    {"ok": 1},
    {"ok": {"gte": 0}},
    {"weight": True},
    {"year": "2005"},
    {"year": {"lt": "3000"}},
    {"colour": {"lt": 5}},
    {"absent": None},
    {"title": {"contains": "größe des"}},
    {"year": {"contains": "2"}},
    {"colour": {"under": "re"}},
    {"year": {"under": "2005"}},
    {"place": {"contains": "Rome"}},
    {"taken": {"gt": "2024-05"}},
    {"taken": {"lt": "2024"}},
    {"taken": {"on": "2024-05-02"}},
    {"local": {"on": "2024-05-01T21:59Z"}},
    {"days": {"on": "2024"}},  # one day is before, the other after
    {"colour": {"on": "2024"}},
    {"year": {"on": "2005"}},
    {"absent": {"lt": 1}},
    {"nothing": {"lt": 1}},
    {"year": {"in": []}},
    {"place.city.street": {"exists": True}},
    {"tags": {"eq": ["dog", "cat"]}},
    {"colour": "red", "year": 2006},
    {"not": {"or": [{"colour": "red"}]}},
]

WRONG: list[tuple[Any, str]] = [
    ([], "filter: expected an object, found an array"),
    ({}, "filter: an empty object"),
    ({"a": {}}, "filter.a: expected a value or an operator: eq, ne, in, lt"),
    ({"a": {"like": 1}}, "filter.a.like: unknown operator 'like', expected one of: eq, ne"),
    (
        {"place.home": {"city": {"eq": "Oslo"}}},
        "'city', expected one of: .*exists; a nested field is named with dots, as in 'place.home.city'$",
    ),
    ({"a": {"x" * 90: 1}}, "expected one of: eq, ne, in, lt, lte, gt, gte, on, contains, under, exists$"),
    (
        {"or": [{"a": 1}, {"b": {"lt": None}}]},
        r"filter.or\[1\].b.lt: expected a number or a string, found null",
    ),
    ({"a": {"lt": True}}, "filter.a.lt: expected a number or a string, found a boolean"),
    ({"a": {"in": "x"}}, "filter.a.in: expected a list of values, found a string"),
    ({"a": {"in": list(range(1001))}}, "filter.a.in: 1001 values in all, the limit is 1000"),
    ({"a": {"exists": "yes"}}, "filter.a.exists: expected true or false, found a string"),
    (
        {"a": {"lt": "2024-13-40"}},
        r"filter.a.lt: '2024-13-40' is no date, expected one such as 2024, 2024-05",
    ),
    ({"a": {"on": "2024-02-30T10:00"}}, "filter.a.on: '2024-02-30T10:00' is no date"),
    ({"a": {"lt": "2024-5-1"}}, "filter.a.lt: '2024-5-1' is no date, .* 2024-05-31"),
    ({"a": {"gte": "2024-1-15"}}, "filter.a.gte: '2024-1-15' is no date"),
    ({"a": {"on": "May"}}, "filter.a.on: 'May' is no date"),
    ({"a": {"on": 2024}}, "filter.a.on: expected a date, found a number"),
    ({"a": {"contains": ""}}, "filter.a.contains: expected a string that is not empty, found an empty one"),
    ({"a": {"contains": ["x"]}}, "filter.a.contains: expected a string that is not empty, found an array"),
    ({"a": {"under": ""}}, "filter.a.under: expected a string that is not empty, found an empty one"),
    ({"and": []}, "filter.and: expected a list of at least one clause"),
    ({"not": [{"a": 1}]}, "filter.not: expected an object, found an array"),
    ({"a..b": 1}, "filter.a..b: a key must not be empty"),
    ({"": 1}, "filter.: a key must not be empty"),
]


@pytest.mark.parametrize("clause", PASS, ids=str)
def test_filter_passes(clause: Any) -> None:
    assert parse_filter(clause).matches(IMAGE)


@pytest.mark.parametrize("clause", FAIL, ids=str)
def test_filter_does_not_pass(clause: Any) -> None:
    assert not parse_filter(clause).matches(IMAGE)


@pytest.mark.parametrize(("clause", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_filter_is_refused_and_the_clause_named(clause: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        parse_filter(clause)


def test_endless_nesting_is_refused() -> None:
    clause: Any = {"a": 1}
    for _ in range(5_000):
        clause = {"not": clause}
    with pytest.raises(InvalidValue, match="nested deeper than 16"):
        parse_filter(clause)


@pytest.mark.parametrize(
    ("clause", "where"),
    [
        ({"or": [{"a": n} for n in range(100_000)]}, r"filter.or\[255\].a"),
        ({f"k{n}": n for n in range(257)}, "filter.k256"),
        ({"or": [{"not": {"or": [{"a": n} for n in range(20)]}} for _ in range(20)]}, r"filter.or\[11\]"),
    ],
    ids=["one list", "one object", "nested"],
)
def test_more_clauses_than_a_collection_can_be_asked_are_refused(clause: Any, where: str) -> None:
    with pytest.raises(InvalidValue, match=f"^{where}.*more than 256 clauses in all"):
        parse_filter(clause)


def test_operators_of_one_key_and_values_of_all_lists_count_together() -> None:
    parse_filter({f"k{n}": {"gt": 1, "lt": 5} for n in range(256)})
    halves = {"or": [{"a": {"in": list(range(600))}}, {"b": {"in": list(range(600))}}]}
    with pytest.raises(InvalidValue, match=r"filter.or\[1\].b.in: 1200 values in all, the limit is 1000"):
        parse_filter(halves)

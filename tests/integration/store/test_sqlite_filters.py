"""SQL decides exactly as the filter itself does, on anything that JSON can say."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diptych.adapters.sqlite.metadata import filters
from diptych.adapters.sqlite.metadata.filters import ASK_PYTHON, condition_of
from diptych.adapters.sqlite.metadata.matching import matching_keys
from diptych.core.collections.metadata.checks import to_json
from diptych.core.collections.metadata.filter_parser import MAX_CLAUSES, MAX_IN_VALUES, parse_filter
from diptych.core.collections.metadata.filters import (
    All,
    AnyOf,
    Compare,
    Contains,
    Eq,
    Exists,
    Filter,
    In,
    KeyIn,
    Not,
    On,
)
from support.json_values import DATES, DOCUMENTS, FOLDED, NUMBERS, PATHS, SCALARS, TEXTS, VALUES

LEAVES = (
    st.builds(Eq, PATHS, VALUES)
    | st.builds(In, PATHS, st.lists(VALUES, max_size=4).map(tuple))
    | st.builds(In, PATHS, st.lists(SCALARS, max_size=4).map(tuple))
    | st.builds(Compare, PATHS, st.sampled_from(["lt", "lte", "gt", "gte"]), NUMBERS | TEXTS | DATES)
    | st.builds(On, PATHS, DATES | TEXTS)
    | st.builds(Contains, PATHS, FOLDED | TEXTS | DATES)
    | st.builds(Exists, PATHS, st.booleans())
)
FILTERS: st.SearchStrategy[Filter] = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(All, st.lists(inner, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE images (key INTEGER PRIMARY KEY, collection INTEGER, metadata TEXT)")
    yield db
    db.close()


def found(db: sqlite3.Connection, documents: list[Any], filter: Filter) -> list[int]:
    db.execute("DELETE FROM images")
    rows = [(key, to_json(document)) for key, document in enumerate(documents)]
    db.executemany("INSERT INTO images VALUES (?, 1, ?)", rows)
    return matching_keys(db, 1, filter, lambda: False).tolist()


def passing(documents: list[Any], filter: Filter) -> list[int]:
    return [key for key, document in enumerate(documents) if filter.matches(json.loads(to_json(document)))]


DATED = st.lists(st.fixed_dictionaries({"a": DATES | st.lists(DATES, max_size=2)}), min_size=1, max_size=6)
BOUNDS = st.builds(Compare, st.just(("a",)), st.sampled_from(["lt", "lte", "gt", "gte"]), DATES) | st.builds(
    On, st.just(("a",)), DATES
)


@settings(deadline=None, max_examples=300)
@given(DATED, BOUNDS)
@example([{"a": "2024"}, {"a": "2024-01"}], Compare(("a",), "gte", "2024-01-01"))
@example([{"a": "2024-02-30T10:00:00"}, {"a": "2024-02-29T24:00:00"}], Compare(("a",), "lte", "2024-02"))
@example([{"a": "2024-01-01T00:30:00+02:00"}], Compare(("a",), "lt", "2024-01-01T00:00Z"))
def test_sql_and_python_agree_on_dates(
    db: sqlite3.Connection, documents: list[Any], filter: Compare | On
) -> None:
    assert found(db, documents, filter) == passing(documents, filter)


@settings(deadline=None, max_examples=150)
@given(DOCUMENTS, FILTERS)
@example([{"a": "a\0b"}, {"a": "a"}], Compare(("a",), "gt", "a"))
@example([{"a": 2**53 + 1}, {"a": 2**53}], Eq(("a",), float(2**53)))
@example([{"a": 2**63 + 1}], Compare(("a",), "gt", 2**63 - 1))
@example([{"a": ["\ud800"]}, {"a": ["\ue000"]}], Compare(("a",), "lt", "é"))
@example([{"nul": 1}, {"nul\0": 1}, {"nul\0x": 1}], Eq(("nul",), 1))
@example([{"nul": 1}, {"nul\0": 1}, {"nul\0x": 1}], Exists(("nul",), True))
@example([{"nul\0": 2, "nul": 1}, {"nul\0": 1, "nul": 2}], Compare(("nul",), "lt", 2))
@example([{"a": {"nul": "b"}}, {"a": {"nul\0x": "b"}}], In(("a", "nul"), ("b",)))
@example([{"a": [{"nul\0": 1}]}, {"a": [{"nul": 1}]}], Eq(("a",), {"nul": 1}))
def test_sql_and_python_agree(db: sqlite3.Connection, documents: list[Any], filter: Filter) -> None:
    assert found(db, documents, filter) == passing(documents, filter)


@pytest.mark.long
@pytest.mark.timeout(1800)  # four minutes on an idle machine
@settings(deadline=None, max_examples=20_000)
@given(DOCUMENTS, FILTERS)
def test_sql_and_python_agree_on_many(db: sqlite3.Connection, documents: list[Any], filter: Filter) -> None:
    assert found(db, documents, filter) == passing(documents, filter)


@settings(deadline=None, max_examples=50)
@given(DOCUMENTS, FILTERS)
def test_old_sqlite_leaves_all_to_python(
    db: sqlite3.Connection, documents: list[Any], filter: Filter
) -> None:
    newest = filters.OLDEST
    filters.OLDEST = (99, 0, 0)
    try:
        assert condition_of(filter, "metadata", []).sql == f"{ASK_PYTHON}(0, metadata)"
        assert found(db, documents, filter) == passing(documents, filter)
    finally:
        filters.OLDEST = newest


@pytest.mark.parametrize("oldest", [filters.OLDEST, (99, 0, 0)])
def test_keys_go_with_any_other_condition(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, oldest: tuple[int, ...]
) -> None:
    monkeypatch.setattr(filters, "OLDEST", oldest)
    documents = [{"a": 1}, {"a": 2}, {"a": 1, "b": "\0"}, {"a": 2, "b": "\0"}, {"a": 1}]
    keys, ones = KeyIn(np.array([1, 2, 4, 9])), Eq(("a",), 1)
    for filter, expected in (
        (keys, [1, 2, 4]),
        (Not(keys), [0, 3]),
        (All((keys, ones)), [2, 4]),
        (AnyOf((ones, keys)), [0, 1, 2, 4]),
        (Not(All((Not(keys), ones))), [1, 2, 3, 4]),
        (AnyOf((KeyIn(np.empty(0, np.int64)), Exists(("b",), True))), [2, 3]),
    ):
        assert found(db, documents, filter) == expected, filter


def test_plain_filters_never_ask_python(db: sqlite3.Connection) -> None:
    """Otherwise everything above would hold of a filter that SQL knows nothing of."""
    asked: list[object] = []

    class Watched(Eq):
        def matches(self, metadata: dict[str, Any]) -> bool:
            asked.append(metadata)
            return super().matches(metadata)

    filter = parse_filter(
        {
            "colour": {"in": ["red", "blue"]},
            "year": {"gte": 2000, "lt": 2010.5},
            "not": {"tags": "dog"},
            "or": [{"place.city": {"gt": "P"}}, {"nothing": None}, {"ok": True}],
            "weight": {"exists": True},
            "title": {"contains": "CAT"},
            "folder": {"under": "2024"},
            "taken": {"gte": "2024-05", "lte": "2024-05-31", "on": "2024"},
        }
    )
    condition = condition_of(filter, "metadata", [1])
    condition.in_python[:] = [Watched(("never",), 1)] * len(condition.in_python)
    image = {"colour": "red", "year": 2005, "tags": ["cat"], "place": {"city": "Rome"}, "weight": 1.5}
    image |= {"title": "A cat", "folder": "2024/x", "taken": "2024-05-31T23:59:59+02:00"}
    others: list[Any] = [{"year": 2011}, {"title": "a dog"}, {"folder": "2024b"}, {"taken": "2024-06-01"}]
    assert found(db, [image, *(image | other for other in others), {}], filter) == [0]
    assert asked == []


def test_largest_filter_is_within_the_limits_of_sqlite(db: sqlite3.Connection) -> None:
    some = list(range(MAX_IN_VALUES // (MAX_CLAUSES - 1)))
    deep: dict[str, Any] = {"a": {"in": some}}
    for _ in range(9):
        deep = {"not": {"and": [deep]}} if _ % 2 else {"or": [deep, {"b": "x"}]}
    wide = {"and": [{"a": {"in": some}} for _ in range(100)] + [deep]}
    for value in (0, -1):
        filter = parse_filter(wide)
        assert found(db, [{"a": value}], filter) == passing([{"a": value}], filter)

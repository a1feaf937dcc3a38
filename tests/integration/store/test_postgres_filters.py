"""PostgreSQL and Python decide the same of filters and orders, on anything that JSON can say."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from diptych.adapters.postgres.connection import PostgresConnection, connect
from diptych.adapters.postgres.dialect import PostgresDialect
from diptych.adapters.postgres.filters import condition_of
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
)
from diptych.core.collections.metadata.ordering import OrderBy
from integration.store.test_sqlite_filters import BOUNDS, DATED, FILTERS, passing
from integration.store.test_sqlite_order import DIRECTIONS, DOCUMENTS_WITH_A
from support.json_values import DOCUMENTS, PATHS
from support.postgres import Cluster

ANY_PACE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def db(postgres_cluster: Cluster) -> Iterator[PostgresConnection]:
    """A table of images as the store makes it, in a transaction that never ends."""
    db = connect(postgres_cluster.url(), "test", PostgresDialect())
    db.execute(
        "CREATE FUNCTION fields_of(metadata TEXT) RETURNS JSONB IMMUTABLE LANGUAGE sql AS"
        " $$SELECT CASE WHEN pg_input_is_valid($1, 'jsonb') THEN $1::jsonb END$$"
    )
    db.execute(
        'CREATE TABLE images (key BIGINT, collection BIGINT, id TEXT COLLATE "C", metadata TEXT,'
        " fields JSONB GENERATED ALWAYS AS (fields_of(metadata)) STORED)"
    )
    db.execute("BEGIN")
    yield db
    db.raw.close()


def store(db: PostgresConnection, documents: list[Any]) -> None:
    db.execute("DELETE FROM images")
    rows = [(key, f"i{key * 7 % 10}", to_json(document)) for key, document in enumerate(documents)]
    db.executemany("INSERT INTO images (key, collection, id, metadata) VALUES (?, 1, ?, ?)", rows)


def found(db: PostgresConnection, documents: list[Any], filter: Filter) -> list[int]:
    store(db, documents)
    return db.dialect.matching_keys(db, 1, filter, lambda: False).tolist()


@settings(ANY_PACE, max_examples=40)
@given(DATED, BOUNDS)
@example([{"a": "2024"}, {"a": "2024-01"}], Compare(("a",), "gte", "2024-01-01"))
def test_sql_and_python_agree_on_dates(db: PostgresConnection, documents: list[Any], filter: Filter) -> None:
    assert found(db, documents, filter) == passing(documents, filter)


@settings(ANY_PACE, max_examples=100)
@given(DOCUMENTS, FILTERS)
@example([{"a": "a\0b"}, {"a": "a"}], Compare(("a",), "gt", "a"))
@example([{"a": 2**53 + 1}, {"a": 2**53}], Eq(("a",), float(2**53)))
@example([{"a": 10**23}, {"a": 1e23}], Eq(("a",), 1e23))
@example([{"a": 10**23}, {"a": 1e23}], Compare(("a",), "lt", 10**23))
@example([{"a": 1}, {"a": 1.0}, {"a": True}, {"a": [1]}, {"a": [[1]]}], Eq(("a",), 1))
@example([{"a": 10**400}, {"a": 1}], AnyOf((Compare(("a",), "gte", 10**400), Eq(("a",), -(10**400)))))
@example([{"a": 2**63 + 1}], Compare(("a",), "gt", 2**63 - 1))
@example([{"a": ["\ud800"]}, {"a": ["\ue000"]}], Compare(("a",), "lt", "é"))
@example([{"a": "Straße"}, {"a": "STRASSE"}, {"a": "x"}], Contains(("a",), "strasse"))
@example([{"nul": 1}, {"nul\0": 1}, {"nul\0x": 1}], Eq(("nul",), 1))
@example([{"a": [{"b": 1}]}, {"a": {"b": 1}}, {"a": {"b": [1]}}], Eq(("a", "b"), 1))
@example([{"a": None}, {}], Eq(("a",), None))
@example([{"a": ["x", "2024"]}, {"a": []}, {}], Not(Compare(("a",), "gt", "2024")))
def test_sql_and_python_agree(db: PostgresConnection, documents: list[Any], filter: Filter) -> None:
    assert found(db, documents, filter) == passing(documents, filter)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(ANY_PACE, max_examples=5_000)
@given(DOCUMENTS, FILTERS)
def test_sql_and_python_agree_on_many(db: PostgresConnection, documents: list[Any], filter: Filter) -> None:
    assert found(db, documents, filter) == passing(documents, filter)


@settings(ANY_PACE, max_examples=40)
@given(DOCUMENTS, st.builds(OrderBy, PATHS, DIRECTIONS))
@example([{"nul": 1}, {"nul\0": 0}], OrderBy(("nul\0",)))
def test_order_is_that_of_python(db: PostgresConnection, documents: list[Any], order_by: OrderBy) -> None:
    check_order(db, documents, order_by)


@settings(ANY_PACE, max_examples=60)
@given(DOCUMENTS_WITH_A, DIRECTIONS)
@example([{"a": 0.1 + 0.2}, {"a": 0.3}, {"a": 2**63}, {"a": 2**63 - 1}, {"a": -(10**400)}], "asc")
@example([{"a": 1}, {"a": 1}, {"a": "B"}, {"a": "b"}, {"a": [None, 1]}], "desc")
def test_order_of_values_is_that_of_python(
    db: PostgresConnection, documents: list[Any], direction: Any
) -> None:
    check_order(db, documents, OrderBy(("a",), direction))


def check_order(db: PostgresConnection, documents: list[Any], order_by: OrderBy) -> None:
    store(db, documents)
    stored = [json.loads(to_json(document)) for document in documents]
    places = [order_by.place_of(one, f"i{key * 7 % 10}") for key, one in enumerate(stored)]
    keys = db.dialect.ordered_keys(db, 1, None, order_by, lambda: False)
    assert keys is not None
    assert keys.tolist() == sorted(range(len(places)), key=lambda key: places[key])
    some = db.dialect.ordered_keys(db, 1, np.arange(1), order_by, lambda: False)
    assert some is not None
    assert some.tolist() == [0][: len(stored)]
    assert db.dialect.ordered_keys(db, 1, None, order_by, lambda: True) is None or not stored


def test_keys_go_with_any_other_condition(db: PostgresConnection) -> None:
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


def test_plain_filters_are_decided_by_the_database(db: PostgresConnection) -> None:
    """Otherwise everything above would hold of a filter that SQL knows nothing of."""
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
    image = {"colour": "red", "year": 2005, "tags": ["cat"], "place": {"city": "Rome"}, "weight": 1.5}
    image |= {"taken": "2024-05-27T23:59:59+02:00", "folder": "2024/x"}
    store(db, [image | {"title": "A cat"}, image | {"title": "a dog"}, image | {"year": 2011}, {}])
    condition = condition_of(filter)
    query = f"SELECT {condition.sql} FROM images ORDER BY key"
    assert db.raw.execute(query, condition.parameters).fetchall() == [(True,), (False,), (False,), (False,)]


def test_equality_is_answered_by_the_index() -> None:
    assert condition_of(All((Eq(("a",), "x"), In(("b", "c"), (1, True))))).is_indexed
    assert not condition_of(Not(Eq(("a",), "x"))).is_indexed
    assert not condition_of(Eq(("a",), {"b": 1})).is_indexed


def test_largest_filter_is_within_the_limits_of_the_database(db: PostgresConnection) -> None:
    some = list(range(MAX_IN_VALUES // (MAX_CLAUSES - 1)))
    wide = {"and": [{"a": {"in": some}} for _ in range(100)]}
    for value in (0, -1):
        filter = parse_filter(wide)
        assert found(db, [{"a": value}], filter) == passing([{"a": value}], filter)

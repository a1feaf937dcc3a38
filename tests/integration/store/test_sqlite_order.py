"""SQLite puts rows in the same order as Python does, on anything that JSON can say."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diptych.adapters.sqlite.metadata import order
from diptych.adapters.sqlite.metadata.order import ordered_keys, rank_after
from diptych.core.collections.metadata.checks import to_json
from diptych.core.collections.metadata.ordering import OrderBy
from support.json_values import DATES, DOCUMENTS, FOLDED, NUMBERS, PATHS, TEXTS

VALUES = NUMBERS | TEXTS | FOLDED | DATES | st.booleans() | st.none()
DOCUMENTS_WITH_A = st.lists(
    st.fixed_dictionaries({"a": VALUES | st.lists(VALUES, max_size=2)}), min_size=2, max_size=6
)
DIRECTIONS = st.sampled_from(["asc", "desc"])


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE images (key INTEGER PRIMARY KEY, collection INTEGER, id TEXT, metadata TEXT)")
    yield db
    db.close()


def check(db: sqlite3.Connection, documents: list[Any], order_by: OrderBy) -> None:
    db.execute("DELETE FROM images")
    stored = {key: to_json(document) for key, document in enumerate(documents, 1)}
    ids = {key: f"i{key * 7 % 10}" for key in stored}
    db.executemany("INSERT INTO images VALUES (?, 1, ?, ?)", [(key, ids[key], stored[key]) for key in stored])
    places = {key: order_by.place_of(json.loads(text), ids[key]) for key, text in stored.items()}
    expected = sorted(stored, key=lambda key: places[key])

    keys = ordered_keys(db, 1, None, order_by, lambda: False)
    assert keys is not None
    assert keys.tolist() == expected
    some = ordered_keys(db, 1, np.arange(1, len(stored)), order_by, lambda: False)
    assert some is not None
    assert some.tolist() == [key for key in expected if key != len(stored)]
    assert [rank_after(db, keys, order_by, places[key]) for key in expected] == [*range(1, len(stored) + 1)]


@settings(deadline=None, max_examples=200)
@given(DOCUMENTS, st.builds(OrderBy, PATHS, DIRECTIONS))
@example([{"nul": 1}, {"nul\0": 0}], OrderBy(("nul\0",)))
def test_sql_and_python_agree(db: sqlite3.Connection, documents: list[Any], order_by: OrderBy) -> None:
    check(db, documents, order_by)


@settings(deadline=None, max_examples=300)
@given(DOCUMENTS_WITH_A, DIRECTIONS)
@example([{"a": 0.1 + 0.2}, {"a": 0.3}, {"a": 2**63}, {"a": 2**63 - 1}, {"a": -(10**400)}], "asc")
@example([{"a": "2024-02-30"}, {"a": "2024-02-29T23:59:59-01:00"}, {"a": "2024-02-29T23:59:59+01:00"}], "asc")
@example([{"a": "B"}, {"a": "a"}, {"a": "A"}, {"a": "b" * 300}, {"a": "b" * 301}], "desc")
def test_sql_and_python_agree_on_values(db: sqlite3.Connection, documents: list[Any], direction: Any) -> None:
    check(db, documents, OrderBy(("a",), direction))


def test_old_sqlite_leaves_all_to_python(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "OLDEST", (99, 0, 0))
    check(db, [{"a": 2}, {"a": "b"}, {}, {"a": "A"}, {"a": 1.5}], OrderBy(("a",)))


def test_plain_values_never_ask_python(db: sqlite3.Connection) -> None:
    """A million rows would take several times as long."""
    plain = [1, 1.5, "text", "2024-05-01", "2024-05-01T10:11:12", "2024-05-01T10:11:12+02:00", True, None]
    db.execute("DELETE FROM images")
    rows = [(key, f"i{key}", to_json({"a": value})) for key, value in enumerate(plain, 1)]
    db.executemany("INSERT INTO images VALUES (?, 1, ?, ?)", rows)

    class Unread(OrderBy):
        def value_of(self, metadata: dict[str, Any]) -> None:
            raise AssertionError(metadata)

    keys = ordered_keys(db, 1, None, Unread(("a",)), lambda: False)
    assert keys is not None
    assert keys.tolist() == [1, 2, 4, 6, 5, 3, 7, 8]


def test_cancelled_order_ends_early(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM images")
    rows = [(key, f"i{key}", to_json({"a": ["x"]})) for key in range(1, 10)]
    db.executemany("INSERT INTO images VALUES (?, 1, ?, ?)", rows)
    assert ordered_keys(db, 1, None, OrderBy(("a",)), lambda: True) is None

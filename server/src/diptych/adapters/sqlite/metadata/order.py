"""The keys of rows in the order of a metadata field, which `core.collections.metadata.ordering` defines.

SQLite sorts, since it releases the GIL meanwhile and uses temporary files for what is much. Where its sort
key could differ from Python's, Python makes it.
"""

# ruff: noqa: S608 - names and constants of this package are inserted; values from callers are bound

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Callable

import numpy as np

from diptych.adapters.sql.connection import Connection
from diptych.adapters.sqlite.metadata.dates import is_plain_date
from diptych.adapters.sqlite.metadata.filters import ASK_PYTHON, NUL, OLDEST, is_ascii, json_path
from diptych.adapters.sqlite.metadata.matching import asking_python, is_scan_faster
from diptych.core.collections.metadata.facets import Months
from diptych.core.collections.metadata.ordering import (
    BOOLEAN,
    DATE,
    MAX_CHARS,
    MISSING,
    NUMBER,
    TEXT,
    Direction,
    OrderBy,
    Place,
    SortKey,
    month_of,
    sort_key,
)
from diptych.core.types import Keys

_SURE_CHARS = 16  # of a number that SQLite reads as Python does
_EPOCH_S = 62_135_596_800  # from the year 1 to 1970
_YEAR = "[0-9][0-9][0-9][0-9]"
# Added to the kind of a number or a text whose key Python makes; a kind that Python must find, too.
_IN_PYTHON, _UNKNOWN = 10, 20


def ordered_keys(
    db: sqlite3.Connection, c: int, keys: Keys | None, order_by: OrderBy, stopped: Callable[[], bool]
) -> Keys | None:
    """The given keys of a collection, or all, in order. Ends early with None once `stopped` is true."""
    last: tuple[str, SortKey] = ("", sort_key(None))

    def part_of_key(part: int, metadata: str) -> int | float | bytes:
        nonlocal last
        if last[0] != metadata:
            last = metadata, sort_key(order_by.value_of(json.loads(metadata)))
        return last[1][part]

    rows, parameters = _rows(db, c, keys, order_by)
    path = parameters[1]
    with asking_python(db, part_of_key, stopped):
        query = _in_python(rows, order_by.direction) if path is None else _in_sql(rows, order_by.direction)
        return np.array([key for (key,) in db.execute(query, parameters)], dtype=np.int64)
    return None


def months(
    db: sqlite3.Connection, c: int, keys: Keys | None, order_by: OrderBy, stopped: Callable[[], bool]
) -> Months | None:
    """The number of the given images, or all, by the month of the value that decides about their order.

    Ends early with None once `stopped` is true.
    """

    def month(_: int, metadata: str) -> str | None:
        return month_of(order_by.value_of(json.loads(metadata)))

    rows, parameters = _rows(db, c, keys, order_by)
    with asking_python(db, month, stopped):
        source = f"(SELECT {_ask(0)} AS month FROM {rows})"
        if parameters[1] is not None:
            of_kind = f"CASE kind WHEN {DATE} THEN substr(value, 1, 7) WHEN {_UNKNOWN} THEN {_ask(0)} END"
            source = f"(SELECT {of_kind} AS month FROM ({_kinds(rows)}) WHERE key > 0)"
        query = f"SELECT month, count(*) FROM {source} GROUP BY month ORDER BY month"
        counts = dict(db.execute(query, parameters).fetchall())
        return Months(sum(counts.values()), {month: n for month, n in counts.items() if month is not None})
    return None


def texts(
    db: sqlite3.Connection, c: int, keys: Keys | None, order_by: OrderBy, stopped: Callable[[], bool]
) -> dict[str, int] | None:
    """The number of the given images, or all, by the text that decides about their order.

    Ends early with None once `stopped` is true.
    """

    def text(_: int, metadata: str) -> str | None:
        value = order_by.value_of(json.loads(metadata))
        return value if isinstance(value, str) else None

    rows, parameters = _rows(db, c, keys, order_by)
    in_python = (
        "1" if parameters[1] is None else f"instr(metadata, '{NUL}') OR json_type(metadata, ?2) = 'array'"
    )
    in_sql = "CASE json_type(metadata, ?2) WHEN 'text' THEN json_extract(metadata, ?2) END"
    with asking_python(db, text, stopped):
        source = f"(SELECT CASE WHEN {in_python} THEN {_ask(0)} ELSE {in_sql} END AS text FROM {rows})"
        return dict(
            db.execute(
                f"SELECT text, count(*) FROM {source} WHERE text IS NOT NULL GROUP BY text", parameters
            )
        )
    return None


def rank_after(db: Connection, keys: Keys, order_by: OrderBy, after: Place) -> int:
    """The number of `keys`, which are in order, up to and at a place."""

    def place(key: int) -> Place:
        query = "SELECT metadata, id FROM images WHERE key = ?"
        metadata, id = db.execute(query, (int(key),)).fetchone()
        return order_by.place_of(json.loads(metadata), id)

    return bisect_right(keys, after, key=place)


def _rows(
    db: sqlite3.Connection, c: int, keys: Keys | None, order_by: OrderBy
) -> tuple[str, list[int | str | None]]:
    """The given rows of a collection, or all, for a FROM; and its parameters.

    The path ?2 is None where Python must read the values.
    """
    path = json_path(order_by.path) if sqlite3.sqlite_version_info >= OLDEST else None
    images = "images NOT INDEXED" if keys is None and is_scan_faster(db, c) else "images"
    rows, parameters = f"{images} WHERE collection = ?1 AND ?2 IS ?2", [c, path]
    if keys is not None:
        rows += " AND key IN (SELECT value FROM json_each(?3))"
        parameters.append(json.dumps(keys.tolist()))
    return rows, parameters


def _in_python(rows: str, direction: Direction) -> str:
    """The statement for the keys of rows, for which Python makes the sort keys."""
    return f"SELECT key FROM {rows} ORDER BY {_ask(0)}, {_ask(1)} {direction}, {_ask(2)} {direction}, id"


def _in_sql(rows: str, direction: Direction) -> str:
    """The statement for the keys of rows by their values at the path ?2."""
    return f"""
        SELECT key FROM ({_kinds(rows)}) WHERE key > 0
        ORDER BY iif(kind = {_UNKNOWN}, {_ask(0)}, kind % {_IN_PYTHON}), {_VALUE} {direction},
            {_TIE} {direction}, id
    """


def _kinds(rows: str) -> str:
    """The statement for the values of rows at the path ?2, and their kinds.

    A LIMIT inside and a WHERE outside keep SQLite from merging statements, which would evaluate an expression
    once for each use.
    """
    values = f"""
        SELECT key, id, metadata, json_type(metadata, ?2) AS type, json_extract(metadata, ?2) AS value
        FROM {rows} LIMIT -1
    """
    return f"SELECT key, id, metadata, value, {_KIND} AS kind FROM ({values}) WHERE key > 0 LIMIT -1"


def _ask(part: int) -> str:
    """A part of the sort key, as Python makes it."""
    return f"{ASK_PYTHON}({part}, metadata)"


_IS_EXACT = f"length(metadata -> ?2) <= {_SURE_CHARS} AND instr(metadata -> ?2, 'e') = 0"
_MAY_BE_DATE = f"value GLOB '{_YEAR}-[0-9]*' OR value GLOB '{_YEAR}'"
_KIND = f"""
    CASE WHEN instr(metadata, '{NUL}') THEN {_UNKNOWN} ELSE CASE type
    WHEN 'integer' THEN iif(typeof(value) = 'integer', {NUMBER}, {NUMBER + _IN_PYTHON})
    WHEN 'real' THEN iif({_IS_EXACT}, {NUMBER}, {NUMBER + _IN_PYTHON})
    WHEN 'text' THEN CASE
        WHEN {_MAY_BE_DATE} THEN iif({is_plain_date("value")}, {DATE}, {_UNKNOWN})
        ELSE iif({is_ascii("value")}, {TEXT}, {TEXT + _IN_PYTHON}) END
    WHEN 'true' THEN {BOOLEAN} WHEN 'false' THEN {BOOLEAN}
    WHEN 'array' THEN {_UNKNOWN} ELSE {MISSING} END END
"""
_VALUE = f"""
    CASE kind WHEN {NUMBER} THEN value WHEN {BOOLEAN} THEN value WHEN {MISSING} THEN 0
    WHEN {DATE} THEN (unixepoch(substr(value, 1, 19)) + {_EPOCH_S}) * 1000000
    WHEN {TEXT} THEN CAST(lower(substr(value, 1, {MAX_CHARS})) AS BLOB)
    ELSE {_ask(1)} END
"""
_OFFSET_MIN = "(substr(value, 21, 2) * 60 + substr(value, 24, 2)) * iif(substr(value, 20, 1) = '-', -1, 1)"
_TIE = f"""
    CASE kind WHEN {DATE} THEN iif(length(value) = 25, {_OFFSET_MIN} * -60000000, 0)
    WHEN {TEXT} THEN CAST(substr(value, 1, {MAX_CHARS}) AS BLOB)
    WHEN {TEXT + _IN_PYTHON} THEN {_ask(2)} WHEN {_UNKNOWN} THEN {_ask(2)} ELSE 0 END
"""

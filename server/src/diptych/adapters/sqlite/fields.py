"""The SQL statements that describe the fields of the metadata of a collection.

SQLite counts, since it releases the GIL meanwhile and sorts in temporary files what is much.
"""

# ruff: noqa: S608 - only constants of this package are inserted into statements

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import numpy as np

from diptych.adapters.sqlite.rows import STEPS_BETWEEN_CHECKS
from diptych.core.collections.metadata.facets import (
    MAX_FIELDS,
    MAX_READ,
    MAX_VALUE_CHARS,
    Field,
    FieldKind,
    FieldSummary,
    Scalar,
)
from diptych.core.types import Keys

_CONTAINERS = "('array', 'object')"


def _kind(type: str) -> str:
    """The kind of a value as this module names it; `type` is the column with SQLite's name."""
    names = {"integer": "number", "real": "number", "true": "boolean", "false": "boolean", "array": "list"}
    cases = " ".join(f"WHEN '{old}' THEN '{new}'" for old, new in names.items())
    return f"CASE {type} {cases} ELSE {type} END"


def _value(source: str) -> str:
    """The value in a row of json_each. Texts are cut, so that long ones do not fill the temporary files."""
    text = f"substr({source}.atom, 1, {MAX_VALUE_CHARS + 1})"
    return f"iif({source}.type = 'text', {text}, {source}.atom)"


# ?1: the keys of the images to read, a JSON array.
_READ = "FROM images i, json_each(i.metadata) f WHERE i.key IN (SELECT value FROM json_each(?1))"
_NAMES = f"SELECT f.key, {_kind('f.type')}, count(*) {_READ} GROUP BY 1, 2"
# The values of the fields ?2: for each field and kind the ?3 most frequent, and what holds for all of them.
_VALUES = f"""
    WITH found AS MATERIALIZED (
        SELECT name, kind, value, count(*) AS n FROM (
            SELECT f.key AS name, {_kind("f.type")} AS kind, {_value("f")} AS value
            {_READ} AND f.key IN (SELECT value FROM json_each(?2)) AND f.type NOT IN {_CONTAINERS}
            UNION ALL
            SELECT name, kind, value FROM (
                SELECT DISTINCT i.key, f.key AS name, {_kind("e.type")} AS kind, {_value("e")} AS value
                {_READ.replace("WHERE", ", json_each(f.value) e WHERE", 1)}
                AND f.key IN (SELECT value FROM json_each(?2)) AND f.type = 'array'
                AND e.type NOT IN {_CONTAINERS}
            )
        ) GROUP BY 1, 2, 3
    )
    SELECT name, kind, value, n, n_distinct, least, most FROM (
        SELECT name, kind, value, n, count(*) OVER same AS n_distinct,
            min(value) OVER same AS least, max(value) OVER same AS most,
            row_number() OVER (PARTITION BY name, kind ORDER BY n DESC, value) AS place
        FROM found WINDOW same AS (PARTITION BY name, kind)
    ) WHERE place <= ?3 ORDER BY name, n DESC, kind, value
"""


def summarise(
    db: sqlite3.Connection, keys: Keys, limit: int, stopped: Callable[[], bool]
) -> FieldSummary | None:
    """The most common fields of the images with these keys, each with at most `limit` values.

    Of more than MAX_READ images as many are read, spread evenly over all. Ends early with None once
    `stopped` is true.
    """
    read = keys if len(keys) <= MAX_READ else keys[np.linspace(0, len(keys) - 1, MAX_READ, dtype=np.int64)]
    chosen = json.dumps(read.tolist())
    with _any_text(db), _stoppable(db, stopped):
        kinds: dict[str, dict[FieldKind, int]] = {}
        for name, kind, n in db.execute(_NAMES, (chosen,)):
            kinds.setdefault(name, {})[kind] = n
        n_images = {name: sum(of_field.values()) for name, of_field in kinds.items()}
        names = sorted(kinds, key=lambda name: (-n_images[name], name))[:MAX_FIELDS]
        found = db.execute(_VALUES, (chosen, json.dumps(names), max(limit, 1)))
        values = {name: list(rows) for name, rows in groupby(found, key=lambda row: row[0])}
        fields = [_field(name, n_images[name], kinds[name], values.get(name, []), limit) for name in names]
        return FieldSummary(len(keys), len(read), len(kinds), fields)
    return None


def _field(
    name: str, n_images: int, kinds: dict[FieldKind, int], rows: list[tuple[Any, ...]], limit: int
) -> Field:
    """`rows` are those of _VALUES, the most frequent values first."""
    n_distinct = {kind: n for _, kind, _, _, n, *_ in rows}
    values = [
        (_scalar(kind, value), n)
        for _, kind, value, n, *_ in rows[:limit]
        if kind != "text" or len(value) <= MAX_VALUE_CHARS
    ]
    least, most = next((row[5:] for row in rows if row[1] == "number"), (None, None))
    found = sorted({*kinds, *n_distinct})
    return Field(name, n_images, found, sum(n_distinct.values()), values, least, most)


def _scalar(kind: FieldKind, value: Any) -> Scalar:
    scalar: Scalar = bool(value) if kind == "boolean" else value
    return scalar


@contextmanager
def _any_text(db: sqlite3.Connection) -> Iterator[None]:
    """Read texts with unpaired surrogates, which JSON can spell, with replacement characters."""
    db.text_factory = lambda raw: raw.decode(errors="replace")
    try:
        yield
    finally:
        db.text_factory = str


@contextmanager
def _stoppable(db: sqlite3.Connection, stopped: Callable[[], bool]) -> Iterator[None]:
    """End statements once `stopped` is true, and then the block."""
    db.set_progress_handler(stopped, STEPS_BETWEEN_CHECKS)
    try:
        yield
    except sqlite3.OperationalError:
        if not stopped():
            raise
    finally:
        db.set_progress_handler(None, 0)

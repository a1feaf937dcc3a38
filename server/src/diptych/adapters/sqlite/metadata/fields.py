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

from diptych.adapters.sqlite.metadata.matching import stoppable
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


# The fields of images: ?1 are the keys of the images to read, a JSON array.
_OF_IMAGES = """
    SELECT i.key AS image, f.key AS name, f.type, f.value, f.atom
    FROM images i, json_each(i.metadata) f WHERE i.key IN (SELECT value FROM json_each(?1))
"""
# The fields inside of objects, named by their paths. No path of a filter has an empty key or one
# with a dot.
_HAS_PATH = "f.key != '' AND instr(f.key, '.') = 0"
_OF_OBJECTS = f"""
    WITH RECURSIVE inside(image, name, type, value, atom, depth) AS (
        SELECT f.image, f.name, f.type, f.value, f.atom, 0 FROM ({_OF_IMAGES}) f
        WHERE f.type = 'object' AND {_HAS_PATH.replace("f.key", "f.name")}
        UNION ALL
        SELECT o.image, o.name || '.' || f.key, f.type, f.value, f.atom, o.depth + 1
        FROM inside o, json_each(o.value) f WHERE o.type = 'object' AND {_HAS_PATH}
    )
    SELECT image, name, type, value, atom FROM inside WHERE depth > 0
"""


def _names(source: str) -> str:
    """The statement that counts the images with each field, by its kind."""
    return f"SELECT f.name, {_kind('f.type')}, count(*) FROM ({source}) f GROUP BY 1, 2"


def _values(source: str) -> str:
    """The statement for the values of the fields ?2: of each field and kind the ?3 most frequent ones, and
    what holds for all of them.
    """
    return f"""
        WITH found AS MATERIALIZED (
            SELECT name, kind, value, count(*) AS n FROM (
                SELECT f.name, {_kind("f.type")} AS kind, {_value("f")} AS value FROM ({source}) f
                WHERE f.name IN (SELECT value FROM json_each(?2)) AND f.type NOT IN {_CONTAINERS}
                UNION ALL
                SELECT name, kind, value FROM (
                    SELECT DISTINCT f.image, f.name, {_kind("e.type")} AS kind, {_value("e")} AS value
                    FROM ({source}) f, json_each(f.value) e
                    WHERE f.name IN (SELECT value FROM json_each(?2)) AND f.type = 'array'
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


def sample(keys: Keys) -> Keys:
    """The keys of the images that are read: at most MAX_READ, spread evenly over all."""
    return keys if len(keys) <= MAX_READ else keys[np.linspace(0, len(keys) - 1, MAX_READ, dtype=np.int64)]


def summarise(
    db: sqlite3.Connection, keys: Keys, limit: int, stopped: Callable[[], bool], *, nested: bool = False
) -> FieldSummary | None:
    """The most common fields of the images with these keys, each with at most `limit` values.

    With `nested`, fields inside of objects are described, too, and all names are paths of filters. Of more
    than MAX_READ images as many are read, spread evenly over all. Ends early with None once `stopped` is
    true.
    """
    read = sample(keys)
    chosen = json.dumps(read.tolist())
    with _any_text(db), stoppable(db, stopped):
        kinds = _kinds(db, _OF_IMAGES, chosen)
        sources = [_OF_IMAGES]
        if nested:
            kinds = {name: of_field for name, of_field in kinds.items() if name and "." not in name}
            if any("object" in of_field for of_field in kinds.values()):
                kinds |= _kinds(db, _OF_OBJECTS, chosen)
                sources.append(_OF_OBJECTS)
        n_images = {name: sum(of_field.values()) for name, of_field in kinds.items()}
        names = sorted(kinds, key=lambda name: (-n_images[name], name))[:MAX_FIELDS]
        values: dict[str, list[tuple[Any, ...]]] = {}
        for source in sources:
            found = db.execute(_values(source), (chosen, json.dumps(names), max(limit, 1)))
            values |= {name: list(rows) for name, rows in groupby(found, key=lambda row: row[0])}
        fields = [_field(name, n_images[name], kinds[name], values.get(name, []), limit) for name in names]
        return FieldSummary(len(keys), len(read), len(kinds), fields)
    return None


def _kinds(db: sqlite3.Connection, source: str, chosen: str) -> dict[str, dict[FieldKind, int]]:
    """How many images have each field, by the kind of its value."""
    kinds: dict[str, dict[FieldKind, int]] = {}
    for name, kind, n in db.execute(_names(source), (chosen,)):
        kinds.setdefault(name, {})[kind] = n
    return kinds


def _field(
    name: str, n_images: int, kinds: dict[FieldKind, int], rows: list[tuple[Any, ...]], limit: int
) -> Field:
    """`rows` are those of `_values`, the most frequent values first."""
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

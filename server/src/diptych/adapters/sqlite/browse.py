"""The SQL statements that show what is in a collection: images that pass a filter, and duplicates."""

# ruff: noqa: S608 - only constants of this package are inserted into statements

from collections.abc import Sequence

import numpy as np

from diptych.adapters.sql.connection import Connection, Many
from diptych.adapters.sql.rows import ONE_OF
from diptych.adapters.sqlite.records import RECORD, record_of
from diptych.core.types import ImageContent, ImageRecord, Keys

FEW_KEYS = 10_000  # whose ids are sorted for each page; of more keys the index of ids meets some soon
_CHUNK = 1_000  # entries of the index of ids that are read at once


def page_of(db: Connection, c: int, keys: Keys, after: str, limit: int) -> list[ImageRecord]:
    """At most `limit` records of the ascending `keys` with ids above `after`, by id."""
    if len(keys) <= FEW_KEYS:
        query = f"SELECT key FROM images WHERE key {ONE_OF} AND id > ? ORDER BY id LIMIT ?"
        found = [key for (key,) in db.execute(query, (Many(keys.tolist()), after, limit))]
    else:
        found = _first_of(db, c, keys, after, limit)
    return records_of(db, found)


def same_bytes(db: Connection, c: int) -> list[list[str]]:
    """The ids of images with the same bytes, ascending, in groups of two or more, by their first ids."""
    query = (
        "SELECT sha256, id FROM images WHERE collection = ?1 AND sha256 IN"
        " (SELECT sha256 FROM images WHERE collection = ?1 GROUP BY sha256 HAVING count(*) > 1) ORDER BY id"
    )
    groups: dict[str, list[str]] = {}
    for sha256, id in db.execute(query, (c,)):
        groups.setdefault(sha256, []).append(id)
    return list(groups.values())


def contents(db: Connection, c: int) -> list[ImageContent]:
    """The hashes by which the images of the collection are compared, by id."""
    query = "SELECT key, id, sha256, kept, picture_hash FROM images WHERE collection = ? ORDER BY id"
    return [
        ImageContent(key, id, sha256, bool(kept), hash)
        for key, id, sha256, kept, hash in db.execute(query, (c,))
    ]


def _first_of(db: Connection, c: int, keys: Keys, after: str, limit: int) -> list[int]:
    """The first `limit` of the keys in the order of their ids, which an index alone has."""
    found: list[int] = []
    query = "SELECT key FROM images WHERE collection = ? AND id > ? ORDER BY id"
    in_order = db.execute(query, (c, after))
    while len(found) < limit and (chunk := in_order.fetchmany(_CHUNK)):
        there = np.array(chunk, np.int64)[:, 0]
        places = np.searchsorted(keys, there).clip(max=len(keys) - 1)
        found.extend(there[keys[places] == there].tolist())
    in_order.close()
    return found[:limit]


def records_of(db: Connection, keys: Sequence[int]) -> list[ImageRecord]:
    """The records of existing keys, in the order of the keys."""
    query = f"SELECT key, {RECORD} FROM images WHERE key {ONE_OF}"
    found = {key: record_of(columns) for key, *columns in db.execute(query, (Many(keys),))}
    return [found[key] for key in keys]

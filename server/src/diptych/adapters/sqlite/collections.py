"""The SQL statements that list, create, rename, configure, measure and drop collections."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from diptych.adapters.sqlite import rows as sql
from diptych.adapters.sqlite.jobs import end_with_collection, mark_dropped, require_no_job
from diptych.adapters.sqlite.records import begin_change, require_collection
from diptych.core.types import CollectionInfo, Keep, Removed, Sizes, Target, VersionRef
from diptych.errors import Conflict

# One index alone gives the sums of rows and bytes. Another index gives the files that several rows share;
# only these rows are read (CROSS JOIN fixes this order), to subtract what was counted twice.
_SIZES = """
    SELECT collection, n, n_bytes - coalesce(again, 0) FROM (
        SELECT collection, count(*) n, sum(n_bytes) n_bytes FROM images WHERE kept = 1 GROUP BY 1
    ) LEFT JOIN (
        SELECT collection, sum(again) again FROM (
            SELECT i.collection, (count(*) - 1) * i.n_bytes again
            FROM (SELECT sha256 FROM images GROUP BY 1 HAVING count(*) > 1) s
            CROSS JOIN images i ON i.sha256 = s.sha256 WHERE i.kept = 1 GROUP BY 1, i.sha256
        ) GROUP BY 1
    ) USING (collection)
"""


def list_all(db: sqlite3.Connection) -> list[CollectionInfo]:
    """All collections by name, with their numbers of images."""
    rows = db.execute(
        "SELECT number, name, model, (SELECT count(*) FROM images WHERE collection = c.number),"
        " created_at, keep, (SELECT n.identity FROM identities n WHERE n.number = c.identity),"
        " (SELECT n.identity FROM identities n WHERE n.number = c.previous_identity), version, bundle"
        " FROM collections c ORDER BY name"
    )
    return [_info(row) for row in rows]


def _info(row: Iterable[Any]) -> CollectionInfo:
    number, name, model, n_images, created_at, keep, identity, previous, version, bundle = row
    return CollectionInfo(
        number,
        name,
        model,
        n_images,
        created_at,
        keep,
        identity=identity,
        previous_identity=previous,
        ref=None if version is None else VersionRef(model, version, bundle),
    )


def create(db: sqlite3.Connection, name: str, keep: Keep, identity: str, ref: VersionRef) -> CollectionInfo:
    """Create a collection. Raises Conflict if the name is taken."""
    created_at = sql.now()
    with _name_is_free(db, name):
        added = db.execute(
            "INSERT INTO collections (name, model, created_at, keep, identity, version, bundle, change)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
            (name, ref.name, created_at, keep, sql.add_identity(db, identity), ref.version, ref.bundle),
        )
    assert added.lastrowid is not None
    return CollectionInfo(added.lastrowid, name, ref.name, 0, created_at, keep, identity=identity, ref=ref)


def change(db: sqlite3.Connection, c: int, name: str, keep: Keep) -> None:
    """Set the name of a collection and what it keeps.

    Raises NotFound; Conflict if a new name is taken, or a job adds to the collection.
    """
    before = require_collection(db, c)
    db.execute("UPDATE collections SET keep = ? WHERE number = ?", (keep, c))
    if name != before:
        require_no_job(db, c, before)
        with _name_is_free(db, name):
            db.execute("UPDATE collections SET name = ? WHERE number = ?", (name, c))


def move(db: sqlite3.Connection, c: int, target: Target, identity: str) -> None:
    """Note what makes the vectors of a collection from now on, and what did before. Raises NotFound."""
    begin_change(db, c)
    before = "CASE WHEN identity IS NULL OR identity = :identity THEN previous_identity ELSE identity END"
    db.execute(
        f"UPDATE collections SET model = :model, previous_identity = {before},"  # noqa: S608 - as above
        " version = :version, bundle = :bundle, identity = :identity WHERE number = :c",
        {
            "model": target.ref.name,
            "version": target.ref.version,
            "bundle": target.ref.bundle,
            "identity": sql.add_identity(db, identity),
            "c": c,
        },
    )


def drop(db: sqlite3.Connection, c: int) -> Removed:
    """Drop a collection with all its images. Raises NotFound."""
    change = begin_change(db, c)
    keys = [key for (key,) in db.execute("SELECT key FROM images WHERE collection = ?", (c,))]
    released = sql.delete_images(db, c, keys)
    end_with_collection(db, c, require_collection(db, c))
    db.execute("DELETE FROM collections WHERE number = ?", (c,))
    return Removed(tuple(keys), released, change)


def sizes(db: sqlite3.Connection, c: int | None) -> dict[int, Sizes]:
    """The sizes of one collection, or of all, by number. Raises NotFound."""
    if c is None:
        numbers = [one for (one,) in db.execute("SELECT number FROM collections")]
        rows = db.execute(_SIZES)
    else:
        require_collection(db, c)
        numbers, rows = [c], db.execute(f"{_SIZES} WHERE collection = ?", (c,))
    found = {collection: Sizes(*row) for collection, *row in rows}
    return {number: found.get(number, Sizes()) for number in numbers}


@contextmanager
def _name_is_free(db: sqlite3.Connection, name: str) -> Iterator[None]:
    """Wrap the statement that gives a name to a collection. Raises Conflict if another has it."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise Conflict(f"there is a collection named {name!r} already") from None
    mark_dropped(db, name)

"""The SQL statements that list, create, rename, configure, measure and drop collections."""

import sqlite3
from collections.abc import Iterable
from typing import Any

from diptych.adapters.sqlite import rows as sql
from diptych.adapters.sqlite.jobs import end_with_collection, mark_dropped, require_no_job
from diptych.adapters.sqlite.records import require_collection
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
        "SELECT name, model, (SELECT count(*) FROM images WHERE collection = name), created_at, keep,"
        " (SELECT n.identity FROM identities n WHERE n.number = c.identity),"
        " (SELECT n.identity FROM identities n WHERE n.number = c.previous_identity), version, bundle"
        " FROM collections c ORDER BY name"
    )
    return [_info(row) for row in rows]


def _info(row: Iterable[Any]) -> CollectionInfo:
    name, model, n_images, created_at, keep, identity, previous, version, bundle = row
    return CollectionInfo(
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
    created_at, number = sql.now(), sql.add_identity(db, identity)
    added = db.execute(
        "INSERT OR IGNORE INTO collections (name, model, created_at, keep, identity, version, bundle)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (name, ref.name, created_at, keep, number, ref.version, ref.bundle),
    )
    if added.rowcount == 0:
        raise Conflict(f"there is a collection named {name!r} already")
    mark_dropped(db, name)
    return CollectionInfo(name, ref.name, 0, created_at, keep, identity=identity, ref=ref)


def rename(db: sqlite3.Connection, name: str, new_name: str) -> None:
    """Rename a collection, in every row of its images and of its ended jobs. Raises NotFound, Conflict."""
    require_collection(db, name)
    if new_name == name:
        return
    require_no_job(db, name)
    columns = "model, created_at, keep, identity, previous_identity, version, bundle"
    added = db.execute(
        f"INSERT OR IGNORE INTO collections (name, {columns})"  # noqa: S608 - columns are named above
        f" SELECT ?, {columns} FROM collections WHERE name = ?",
        (new_name, name),
    )
    if added.rowcount == 0:
        raise Conflict(f"there is a collection named {new_name!r} already")
    mark_dropped(db, new_name)
    for table in ("images", "jobs"):
        db.execute(f"UPDATE {table} SET collection = ? WHERE collection = ?", (new_name, name))  # noqa: S608
    db.execute("DELETE FROM collections WHERE name = ?", (name,))


def configure(db: sqlite3.Connection, name: str, keep: Keep) -> None:
    """Set what a collection keeps. Raises NotFound."""
    require_collection(db, name)
    db.execute("UPDATE collections SET keep = ? WHERE name = ?", (keep, name))


def move(db: sqlite3.Connection, name: str, target: Target, identity: str) -> None:
    """Note what makes the vectors of a collection from now on, and what did before. Raises NotFound."""
    require_collection(db, name)
    number = sql.add_identity(db, identity)
    before = "CASE WHEN identity IS NULL OR identity = :number THEN previous_identity ELSE identity END"
    db.execute(
        f"UPDATE collections SET model = :model, previous_identity = {before},"  # noqa: S608 - as above
        " version = :version, bundle = :bundle, identity = :number WHERE name = :name",
        {
            "model": target.ref.name,
            "version": target.ref.version,
            "bundle": target.ref.bundle,
            "number": number,
            "name": name,
        },
    )


def drop(db: sqlite3.Connection, name: str) -> Removed:
    """Drop a collection with all its images. Raises NotFound."""
    require_collection(db, name)
    keys = [key for (key,) in db.execute("SELECT key FROM images WHERE collection = ?", (name,))]
    removed = sql.delete_images(db, keys)
    db.execute("DELETE FROM collections WHERE name = ?", (name,))
    end_with_collection(db, name)
    return removed


def sizes(db: sqlite3.Connection, name: str | None) -> dict[str, Sizes]:
    """The sizes of one collection, or of all, by name. Raises NotFound."""
    if name is None:
        names = [one for (one,) in db.execute("SELECT name FROM collections")]
        rows = db.execute(_SIZES)
    else:
        require_collection(db, name)
        names, rows = [name], db.execute(f"{_SIZES} WHERE collection = ?", (name,))
    found = {collection: Sizes(*row) for collection, *row in rows}
    return {name: found.get(name, Sizes()) for name in names}

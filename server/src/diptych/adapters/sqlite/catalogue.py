"""The collections, and what makes the vectors of each identity."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import builtins
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from diptych.adapters.sql import rows as sql
from diptych.adapters.sql.connection import Connection, Threads
from diptych.adapters.sqlite import text_index
from diptych.adapters.sqlite.jobs import end_with_collection, mark_dropped, require_no_job
from diptych.adapters.sqlite.labels import clear_labels
from diptych.adapters.sqlite.records import DROPPED, IS_THERE, begin_change, require_collection
from diptych.adapters.sqlite.row_writer import delete_images
from diptych.core.collections.metadata.exif import LEVELS
from diptych.core.types import (
    CollectionInfo,
    ExifLevel,
    Keep,
    Removed,
    Sizes,
    Target,
    TextFields,
    VersionRef,
)
from diptych.errors import Conflict

# One index alone gives the sums of rows and bytes. Another index gives the files that several rows share;
# only these rows are read (CROSS JOIN fixes this order), to subtract what was counted twice.
_SIZES = """
    SELECT collection, n, n_bytes - coalesce(again, 0) FROM (
        SELECT collection, count(*) n, sum(n_bytes) n_bytes FROM images WHERE kept = 1 GROUP BY 1
    ) LEFT JOIN (
        SELECT collection, sum(again) again FROM (
            SELECT i.collection, (count(*) - 1) * max(i.n_bytes) again
            FROM (SELECT sha256 FROM images GROUP BY 1 HAVING count(*) > 1) s
            CROSS JOIN images i WHERE i.sha256 = s.sha256 AND i.kept = 1 GROUP BY 1, i.sha256
        ) GROUP BY 1
    ) USING (collection)
"""


_SOURCE = "model, version, bundle, precision, decode"


class SqlCatalogue:
    """Satisfies `diptych.core.collections.stored.ports.Catalogue`."""

    def __init__(self, threads: Threads, on_drop: Callable[[], None]) -> None:
        """`on_drop` is called after a collection was dropped, before that is acknowledged."""
        self._threads = threads
        self._on_drop = on_drop

    async def list(self) -> builtins.list[CollectionInfo]:
        """All collections by name, with their numbers of images."""
        return await self._threads.read(_list)

    async def create(
        self,
        name: str,
        keep: Keep,
        identity: str,
        ref: VersionRef,
        *,
        text_fields: TextFields = None,
        exif: ExifLevel = "none",
    ) -> CollectionInfo:
        """Create a collection. Raises Conflict if the name is taken, PairChanged as `RowWriter.put`."""
        return await self._threads.write(
            lambda db: _create(db, name, keep, identity, ref=ref, text_fields=text_fields, exif=exif)
        )

    async def change(self, c: int, name: str, keep: Keep, text_fields: TextFields) -> None:
        """Rename and configure a collection, in one transaction.

        Raises NotFound; Conflict if a new name is taken, or a job adds to the collection.
        """
        await self._threads.write(lambda db: _change(db, c, name, keep, text_fields))

    async def move(self, c: int, target: Target, identity: str) -> None:
        """Note what makes the vectors from now on; those before are kept. Raises NotFound."""
        await self._threads.write(lambda db: move_collection(db, c, target, identity))

    async def begin_exif(self, c: int, level: ExifLevel) -> int | None:
        """The key after which EXIF is still to be read at this level; None if there is nothing to read.

        Raises NotFound. Writes nothing if the level is that of before.
        """
        before = await self._threads.read(lambda db: _exif_read(db, c))
        after = _exif_after(*before, level)
        if before != (level, after):
            values = level, after, c
            query = "UPDATE collections SET exif = ?, exif_read_to = ? WHERE number = ?"
            # A start on a full disk does not end here: the row hardly changes its size.
            await self._threads.write(lambda db: db.execute(query, values) and None, makes_room=True)
        return None if level == "none" else after

    async def drop(self, c: int) -> None:
        """Make a collection unknown, so that its name is free; `clear` removes it. Raises NotFound."""
        await self._threads.write(lambda db: _drop(db, c), makes_room=True, then=self._on_drop)

    async def dropped(self) -> builtins.list[int]:
        """The numbers of dropped collections that are not cleared."""
        query = f"SELECT number FROM collections WHERE NOT {IS_THERE} ORDER BY number"
        return await self._threads.read(lambda db: [number for (number,) in db.execute(query)])

    async def clear(self, c: int, limit: int) -> Removed:
        """Delete at most `limit` images of a dropped collection, and with the last of them itself."""
        return await self._threads.write(lambda db: _clear(db, c, limit), makes_room=True)

    async def sizes(self, c: int | None = None) -> dict[int, Sizes]:
        """The sizes of one collection, or of all, by number. Raises NotFound."""
        return await self._threads.read(lambda db: _sizes(db, c))

    async def sources(self) -> dict[str, Target]:
        """The source of the vectors of each identity, where it is known."""
        return await self._threads.read(_sources)

    async def record_source(self, identity: str, source: Target) -> None:
        """Remember what makes the vectors of an identity. Writes nothing that is known already."""
        if (await self.sources()).get(identity) != source:
            await self._threads.write(lambda db: _record_source(db, identity, source))


_COLUMNS = (
    "created_at, keep, (SELECT n.identity FROM identities n WHERE n.number = c.identity),"
    " (SELECT n.identity FROM identities n WHERE n.number = c.previous_identity), version, bundle,"
    f" text_fields, change FROM collections c WHERE {IS_THERE} ORDER BY name"
)
_COUNT = "(SELECT count(*) FROM images WHERE collection = c.number)"


def _list(db: Connection) -> list[CollectionInfo]:
    as_of = db.dialect.last_write(db)
    return [_info(row, as_of) for row in db.execute(f"SELECT number, name, model, {_COUNT}, {_COLUMNS}")]


def uncounted(db: Connection) -> list[CollectionInfo]:
    """All collections by name, without their numbers of images: counting a million takes a second."""
    return [_info(row) for row in db.execute(f"SELECT number, name, model, 0, {_COLUMNS}")]


def _info(row: Iterable[Any], as_of: int = 0) -> CollectionInfo:
    (number, name, model, n_images, created_at, keep, identity, previous, version, bundle, fields, change) = (
        row
    )
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
        text_fields=text_index.fields_of(fields),
        change=change,
        as_of=as_of,
    )


def _create(
    db: Connection,
    name: str,
    keep: Keep,
    identity: str,
    *,
    ref: VersionRef,
    text_fields: TextFields,
    exif: ExifLevel,
) -> CollectionInfo:
    db.dialect.require_followed(db)
    created_at, fields = sql.now(), text_index.stored_fields(text_fields)
    _take_name(db, name)
    (number,) = db.execute(
        "INSERT INTO collections (name, model, created_at, keep, identity, version, bundle, text_fields,"
        " exif, change) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1) RETURNING number",
        (
            name,
            ref.name,
            created_at,
            keep,
            sql.add_identity(db, identity),
            ref.version,
            ref.bundle,
            fields,
            exif,
        ),
    ).fetchone()
    db.dialect.create_words(db, number)
    return CollectionInfo(
        number,
        name,
        ref.name,
        0,
        created_at,
        keep,
        identity=identity,
        ref=ref,
        text_fields=text_index.fields_of(fields),
    )


def _change(db: Connection, c: int, name: str, keep: Keep, text_fields: TextFields) -> None:
    before, fields = require_collection(db, c), text_index.stored_fields(text_fields)
    query = "UPDATE collections SET text_fields = ? WHERE number = ? AND coalesce(text_fields, '') <> ?"
    if db.execute(query, (fields, c, fields or "")).rowcount:
        text_index.begin_again(db, c)
    db.execute("UPDATE collections SET keep = ? WHERE number = ?", (keep, c))
    if name != before:
        require_no_job(db, c, before)
        _take_name(db, name)
        db.execute("UPDATE collections SET name = ? WHERE number = ?", (name, c))


def _exif_read(db: Connection, c: int) -> tuple[ExifLevel, int | None]:
    require_collection(db, c)
    level, read_to = db.execute(
        "SELECT exif, exif_read_to FROM collections WHERE number = ?", (c,)
    ).fetchone()
    return level, read_to


def _exif_after(before: ExifLevel, read_to: int | None, level: ExifLevel) -> int | None:
    """The key after which rows are still to be read: all of them, if more is to be stored than before."""
    return 0 if LEVELS.index(level) > LEVELS.index(before) else read_to


def move_collection(
    db: Connection, c: int, target: Target, identity: str, rollout: str | None = None
) -> None:
    """Note what makes the vectors of a collection from now on, and what did before. Raises NotFound, and as
    `Dialect.begin_switch`.
    """
    begin_change(db, c)
    db.dialect.begin_switch(db, rollout)
    before = "CASE WHEN identity IS NULL OR identity = ?4 THEN previous_identity ELSE identity END"
    db.execute(
        f"UPDATE collections SET model = ?1, previous_identity = {before},"
        " version = ?2, bundle = ?3, identity = ?4 WHERE number = ?5",
        (target.ref.name, target.ref.version, target.ref.bundle, sql.add_identity(db, identity), c),
    )


def _drop(db: Connection, c: int) -> None:
    end_with_collection(db, c, require_collection(db, c))
    db.execute("UPDATE collections SET name = ? WHERE number = ?", (f"{c} {DROPPED}", c))


def _clear(db: Connection, c: int, limit: int) -> Removed:
    is_dropped = f"number = ? AND NOT {IS_THERE}"
    if db.execute(f"SELECT 1 FROM collections WHERE {is_dropped}", (c,)).fetchone() is None:
        return Removed((), (), change=0)
    db.dialect.clear_collection(db, c)  # at once, instead of row by row
    query = "SELECT key FROM images WHERE collection = ? ORDER BY key LIMIT ?"
    keys = [key for (key,) in db.execute(query, (c, limit))]
    removed = delete_images(db, c, keys)
    clear_labels(db, c, limit, all_of_it=len(keys) < limit)
    if len(keys) < limit:
        db.dialect.drop_tables(db, c)
        for table in ("library_files", "library_deleted"):
            db.execute(f"DELETE FROM {table} WHERE collection = ?", (c,))
        db.execute("DELETE FROM collections WHERE number = ?", (c,))
    return removed


def _sizes(db: Connection, c: int | None) -> dict[int, Sizes]:
    if c is None:
        numbers = [one for (one,) in db.execute("SELECT number FROM collections")]
        rows = db.execute(_SIZES)
    else:
        require_collection(db, c)
        numbers, rows = [c], db.execute(f"{_SIZES} WHERE collection = ?", (c,))
    found = {collection: Sizes(*row) for collection, *row in rows}
    return {
        number: replace(
            found.get(number, Sizes()),
            n_unindexed=text_index.n_unindexed(db, text_index.text_index(db, number)),
        )
        for number in numbers
    }


def _take_name(db: Connection, name: str) -> None:
    """Prepare to give a name to a collection. Raises Conflict if another has it."""
    if db.execute("SELECT 1 FROM collections WHERE name = ?", (name,)).fetchone() is not None:
        raise Conflict(f"there is a collection named {name!r} already")
    mark_dropped(db, name)


def _record_source(db: Connection, identity: str, source: Target) -> None:
    """Set what makes the vectors of an identity, which is added if it is new."""
    number = sql.add_identity(db, identity)
    values = (source.ref.name, source.ref.version, source.ref.bundle, source.precision, source.decode)
    db.execute(f"UPDATE identities SET ({_SOURCE}) = (?, ?, ?, ?, ?) WHERE number = ?", (*values, number))


def _sources(db: Connection) -> dict[str, Target]:
    rows = db.execute(f"SELECT identity, {_SOURCE} FROM identities WHERE model IS NOT NULL")
    return {
        identity: Target(VersionRef(model, version, bundle), precision, decode)
        for identity, model, version, bundle, precision, decode in rows
    }

"""Adds, changes and deletes images."""

# ruff: noqa: S608 - only constants of this package are inserted into statements

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from diptych.adapters.sql import rows as sql
from diptych.adapters.sql.connection import Connection, Many, Threads, Writing
from diptych.adapters.sql.rows import ONE_OF
from diptych.adapters.sqlite import checksums
from diptych.adapters.sqlite.checksums import CONTENT
from diptych.adapters.sqlite.jobs import record
from diptych.adapters.sqlite.records import RECORD, begin_change, find_record, record_of, set_metadata
from diptych.adapters.sqlite.schema import REFERENCED
from diptych.adapters.sqlite.text_index import TextIndex, text_index, writing_words
from diptych.core.collections.metadata.checks import to_json
from diptych.core.collections.metadata.exif import EXIF, with_exif, without_exif
from diptych.core.collections.metadata.reserved import lacks_given, patched, same_metadata, without_missing
from diptych.core.collections.resolve import outcome_of
from diptych.core.job import JobNote
from diptych.core.types import ImageRecord, Metadata, NewRow, PutResult, Removed, Written

INSERT = (
    "INSERT INTO images (id, collection, sha256, n_bytes, media_type, width, height, metadata, created_at,"
    " kept, checksum, picture_hash, change) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING key"
)


@dataclasses.dataclass(frozen=True)
class RowWriting(Writing):
    """The values that rows of one write share; their words, and the keys of rows whose files are kept now."""

    words: TextIndex
    kept: list[int]


class SqlRowWriter:
    """Satisfies `diptych.core.collections.stored.ports.RowWriter`."""

    def __init__(self, threads: Threads, on_change: Callable[[], None]) -> None:
        """`on_change` is called after every change but pure additions, before that is acknowledged."""
        self._threads = threads
        self._on_change = on_change

    async def put(
        self,
        c: int,
        rows: Sequence[NewRow],
        *,
        identity: str,
        replace: bool,
        notes: Sequence[JobNote] = (),
    ) -> Written:
        """Add N rows in order and the outcomes of job items in `notes`, in one transaction.

        Raises NotFound for the collection, or for a job that has ended; PairChanged if another server has
        switched versions meanwhile.
        """

        kept = list[int]()

        def work(db: Connection) -> Written:
            change = begin_change(db, c)
            if rows:
                db.dialect.require_followed(db)
            number = sql.add_identity(db, identity) if rows else 0
            with writing_words(db, c) as words:
                writing = RowWriting(c, number, change, words, kept)
                results = _put_rows(db, rows, writing, replace=replace)
            for note in notes:
                record(db, c, note.job, note.item, outcome_of(note, rows, results))
            return Written(results, change)

        return await self._threads.write(
            work,
            step="job_commit" if notes else "commit",
            then=lambda: self._on_change() if replace or kept else None,
        )

    async def patch(self, c: int, id: str, merge: Metadata, max_bytes: int) -> ImageRecord:
        """Change the metadata by a merge patch. Raises NotFound, InvalidValue, TooLarge."""

        def work(db: Connection) -> ImageRecord:
            change = begin_change(db, c)
            key, found = find_record(db, c, id)
            with writing_words(db, c) as words:
                set_metadata(db, key, patched(found.metadata, merge, max_bytes), change, words)
            return find_record(db, c, id)[1]

        return await self._threads.write(work, then=self._on_change)

    async def delete(self, c: int, keys: Sequence[int], *, as_of: int | None = None) -> Removed:
        """Delete rows by their keys. Those that another server has deleted meanwhile are passed over, and so
        are those that changed after `as_of`.
        """

        def work(db: Connection) -> Removed:
            change = begin_change(db, c)
            chosen = keys if as_of is None else _unchanged(db, c, keys, as_of)
            _note_deleted(db, c, chosen)
            return delete_images(db, c, chosen, change)

        return await self._threads.write(work, makes_room=True, then=self._on_change)

    async def put_hashes(self, hashes: Mapping[int, bytes]) -> None:
        """Store the picture hashes of those images that still exist."""
        rows = [(hash, key) for key, hash in hashes.items()]
        query = "UPDATE images SET picture_hash = ? WHERE key = ?"
        await self._threads.write(lambda db: db.executemany(query, rows) and None)

    async def add_exif(self, c: int, found: Mapping[int, Metadata], read_to: int | None) -> None:
        """Add the EXIF that rows lack, by key, and note how far the collection was read. Raises NotFound."""

        def work(db: Connection) -> None:
            if found:
                change = begin_change(db, c)
                with writing_words(db, c) as words:
                    for key, exif in found.items():
                        _add_exif(db, key, exif, change, words)
            db.execute("UPDATE collections SET exif_read_to = ? WHERE number = ?", (read_to, c))

        await self._threads.write(work, then=self._on_change if found else lambda: None)


def delete_images(db: Connection, c: int, keys: Sequence[int], change: int = 0) -> Removed:
    """Delete those rows of the collection that exist, with their embeddings."""
    chosen = f"FROM images WHERE key {ONE_OF} AND +collection = ?"
    found = dict(db.execute(f"SELECT key, sha256 {chosen}", (Many(keys), c)).fetchall())
    there = [key for key in keys if key in found]
    db.execute(f"DELETE {chosen}", (Many(there), c))
    db.dialect.delete_embeddings(db, c, there)
    text_index(db, c).remove(db, there)
    return Removed(tuple(there), tuple(sorted(_unused_files(db, found.values()))), change)


def _unchanged(db: Connection, c: int, keys: Sequence[int], as_of: int) -> list[int]:
    """Those rows of the keys that no change after `as_of` wrote, nor gave an embedding."""
    query = f"SELECT key FROM images WHERE key {ONE_OF} AND change <= ?"
    found = {key for (key,) in db.execute(query, (Many(keys), as_of))}
    found -= db.dialect.embedded_since(db, c, keys, as_of)
    return [key for key in keys if key in found]


def _note_deleted(db: Connection, c: int, keys: Sequence[int]) -> None:
    """Remember which images of the collection of a library a person has deleted, sent ones included: no scan
    adds them again.
    """
    db.execute(
        "INSERT INTO library_deleted (collection, sha256) SELECT DISTINCT collection, sha256 FROM images"
        f" WHERE key {ONE_OF} AND +collection = ? AND EXISTS"
        " (SELECT 1 FROM collections WHERE number = ? AND keep = 'reference') ON CONFLICT DO NOTHING",
        (Many(keys), c, c),
    )


def _put_rows(
    db: Connection, rows: Sequence[NewRow], writing: RowWriting, *, replace: bool
) -> list[PutResult]:
    """Add rows in order. What is there is read at once, but for ids that come again."""
    found, results = _existing(db, writing.c, (row.id for row in rows)), list[PutResult]()
    done = set[str]()
    for row in rows:
        there = (_existing(db, writing.c, [row.id]) if row.id in done else found).get(row.id)
        results.append(_put_row(db, row, there, writing, replace=replace))
        done.add(row.id)
    return results


def _existing(db: Connection, c: int, ids: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """Key and RECORD of the rows that exist, by id."""
    query = f"SELECT key, {RECORD} FROM images WHERE collection = ? AND id {ONE_OF}"
    return {found[1]: found for found in db.execute(query, (c, Many(ids)))}


def _put_row(
    db: Connection, row: NewRow, found: tuple[Any, ...] | None, writing: RowWriting, *, replace: bool
) -> PutResult:
    """Add one row. An existing row with its id decides whether that creates, replaces or conflicts."""
    if found is None:
        return PutResult("created", _insert(db, row, writing))
    key, there = int(found[0]), record_of(found[1:])
    if there.sha256 == row.sha256:
        metadata = _kept(db, key, row, there, writing)
        return _put_same(db, key, row, metadata, writing, replace=replace)
    if not replace or (row.referenced and not there.referenced):
        return PutResult("conflict", key)
    if row.metadata is None:
        kept = there.metadata if row.exif is None else without_exif(there.metadata)
        row = dataclasses.replace(row, metadata=kept)
    return _put_in_place(db, key, row, writing)


def _kept(db: Connection, key: int, row: NewRow, there: ImageRecord, writing: RowWriting) -> Metadata:
    """Note that a file of a library is in the data folder from now on, if it is. Returns the metadata."""
    if not there.referenced or row.referenced or not row.kept:
        return there.metadata
    metadata = without_missing(there.metadata)
    db.execute("UPDATE images SET kept = 1 WHERE key = ?", (key,))
    set_metadata(db, key, metadata, writing.change, writing.words)
    writing.kept.append(key)
    return metadata


def _put_in_place(db: Connection, key: int, row: NewRow, writing: RowWriting) -> PutResult:
    """Replace the row of `key` by a new one."""
    sha256s = _sha256s(db, "key = ?", (key,))
    db.execute("DELETE FROM images WHERE key = ?", (key,))
    db.dialect.delete_embeddings(db, writing.c, [key])
    writing.words.remove(db, [key])
    new_key = _insert(db, row, writing)
    return PutResult(
        "replaced", new_key, removed_key=key, released=next(iter(_unused_files(db, sha256s)), None)
    )


def _sha256s(db: Connection, where: str, values: tuple[Any, ...]) -> set[str]:
    return {sha256 for (sha256,) in db.execute(f"SELECT sha256 FROM images WHERE {where}", values)}


def _put_same(
    db: Connection,
    key: int,
    row: NewRow,
    metadata: Metadata,
    writing: RowWriting,
    *,
    replace: bool,
) -> PutResult:
    """Add a row whose image is already there: replace the metadata if asked to, and add the embedding."""
    db.dialect.put_embedding(db, key, row.embedding, writing)
    if not replace or row.metadata is None or same_metadata(row.metadata, metadata):
        return PutResult("unchanged", key, metadata_differs=lacks_given(row.metadata, metadata))
    set_metadata(db, key, with_exif(row.metadata, metadata.get(EXIF)), writing.change, writing.words)
    return PutResult("replaced", key)


def _insert(db: Connection, row: NewRow, writing: RowWriting) -> int:
    metadata, created_at = with_exif(row.metadata or {}, row.exif), sql.now()
    kept = REFERENCED if row.referenced else int(row.kept)
    text = to_json(metadata)
    checksum = checksums.of_row(
        row.id.encode(),
        row.sha256.encode(),
        row.n_bytes,
        row.media_type.encode(),
        row.width,
        row.height,
        text.encode(),
        created_at.encode(),
        kept,
    )
    values = (row.id, writing.c, row.sha256, row.n_bytes, row.media_type, row.width, row.height)
    values += (text, created_at, kept, checksum, row.picture_hash, writing.change)  # type: ignore[assignment]
    (key,) = db.execute(INSERT, values).fetchone()
    db.dialect.put_embedding(db, key, row.embedding, writing, is_new=True)
    writing.words.add(key, row.id, metadata)
    return int(key)


def _add_exif(db: Connection, key: int, exif: Metadata, change: int, words: TextIndex) -> None:
    """Add the EXIF that a row lacks. A damaged row stays as it is: a new checksum would hide the damage."""
    row = db.execute(f"SELECT checksum, {CONTENT} FROM images WHERE key = ?", (key,)).fetchone()
    if row is None or not checksums.row_is_whole(row[1:], row[0]):
        return
    metadata = json.loads(row[7])
    changed = with_exif(metadata, exif)
    if changed != metadata:
        set_metadata(db, key, changed, change, words)


def _unused_files(db: Connection, sha256s: Iterable[str]) -> set[str]:
    """The sha256 whose file is used by no row."""
    asked = set(sha256s)
    return asked - sql.used_files(db, asked)

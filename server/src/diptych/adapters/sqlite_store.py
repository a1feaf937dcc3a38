"""The truth about collections, images and embeddings in one SQLite file; knows nothing of image files."""

# ruff: noqa: S608 - only the constants of sqlite_rows are spliced into statements

import asyncio
import json
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from diptych.adapters import sqlite_collections as tables
from diptych.adapters import sqlite_rows as sql
from diptych.adapters.data_lock import DataLock
from diptych.adapters.quota import Quota
from diptych.adapters.sqlite_checksums import damaged_rows
from diptych.adapters.sqlite_jobs import record
from diptych.adapters.sqlite_records import (
    RECORD,
    find_key,
    find_record,
    is_whole,
    record_of,
    require_collection,
    set_metadata,
)
from diptych.adapters.sqlite_threads import Result, SqliteThreads, Work
from diptych.core.filters import Filter
from diptych.core.job import News
from diptych.core.types import (
    SERVER,
    CollectionInfo,
    Embedding,
    Embeddings,
    ImageRecord,
    Keep,
    Keys,
    Metadata,
    NewRow,
    PutResult,
    Removed,
    Sizes,
)

DATABASE = "diptych.sqlite3"
CHUNK = 4_096  # embeddings read at a time

log = logging.getLogger(__name__)


class SqliteStore:
    """Satisfies `diptych.core.ports.RecordStore`; owns the lock of the data folder while it is open."""

    def __init__(self, data_dir: Path, quota: Quota | None = None, lock: DataLock | None = None) -> None:
        """Blocking. Raises DataDirLocked naming the holder, StoreError, CorruptStore.

        `lock` is that of the folder, where the caller has it already; it is the store's from now on.
        """
        self._lock = lock or DataLock(data_dir)
        try:
            self._threads = SqliteThreads(data_dir / DATABASE, quota)
        except BaseException:
            self._lock.release()
            raise
        # By key, which is never used twice: rows, and with the number of an identity vectors.
        self._damaged_rows = self._threads.damaged_at_start
        self._damaged_vectors: set[tuple[int, int]] = set()

    @property
    def threads(self) -> SqliteThreads:
        """For those who keep tables of their own in the same database."""
        return self._threads

    async def close(self) -> None:
        """Finish what runs and let go of the data folder."""
        await asyncio.to_thread(self._threads.close)
        self._lock.release()

    async def collections(self) -> list[CollectionInfo]:
        """All collections by name, with their numbers of images."""
        return await self._threads.read(tables.list_all)

    async def create_collection(
        self, name: str, model: str, keep: Keep = "original", precision: str = SERVER
    ) -> CollectionInfo:
        """Raises Conflict when the name is taken."""
        return await self._threads.write(lambda db: tables.create(db, name, model, keep, precision))

    async def change_collection(self, name: str, new_name: str, keep: Keep, precision: str) -> None:
        """All of it or nothing. Raises NotFound; Conflict if a new name is taken, or a job adds to it."""

        def work(db: sqlite3.Connection) -> None:
            tables.rename(db, name, new_name)
            tables.configure(db, new_name, keep, precision)

        await self._threads.write(work)

    async def drop_collection(self, name: str) -> Removed:
        """Remove it with all its images. Raises NotFound."""
        return await self._threads.write(lambda db: tables.drop(db, name), makes_room=True)

    async def sizes(self, name: str | None = None) -> dict[str, Sizes]:
        """What is kept of one collection, or of all by name. Raises NotFound for one that is not there."""
        return await self._threads.read(lambda db: tables.sizes(db, name))

    async def n_bytes(self) -> int:
        """The database and its log on the disk, without image files."""
        return await asyncio.to_thread(self._threads.n_bytes)

    async def put(
        self,
        collection: str,
        rows: Sequence[NewRow],
        *,
        identity: str,
        replace: bool,
        news: Callable[[Sequence[PutResult]], News] | None = None,
    ) -> list[PutResult]:
        """Add N rows in order, and what jobs hear of the N results, in one transaction.

        Raises NotFound for the collection, and for a job that has ended.
        """

        def work(db: sqlite3.Connection) -> list[PutResult]:
            require_collection(db, collection)
            number = sql.add_identity(db, identity) if rows else 0
            results = [sql.put_row(db, collection, row, number, replace=replace) for row in rows]
            for job, outcomes in ({} if news is None else news(results)).items():
                record(db, job, outcomes)
            return results

        results = await self._threads.write(work, step="commit" if news is None else "job_commit")
        self._are_whole(one.key for one in results if one.status not in {"conflict", "damaged"})
        return results

    async def put_embeddings(self, keys: Sequence[int], rows: Embeddings, identity: str) -> list[int]:
        """Add embeddings of rows that exist; returns the keys that still did."""
        there = await self._threads.write(
            lambda db: sql.put_embeddings(db, keys, rows, sql.add_identity(db, identity))
        )
        self._are_whole(there)
        return there

    async def get(self, collection: str, id: str) -> ImageRecord:
        """Raises NotFound, CorruptStore."""
        return (await self._threads.read(lambda db: find_record(db, collection, id)))[1]

    async def find(self, collection: str, ids: Sequence[str]) -> dict[str, ImageRecord]:
        """The records of those ids that exist, without damaged ones. Raises NotFound for the collection."""
        query = f"SELECT key, {RECORD} FROM images WHERE collection = ? AND id {sql.ONE_OF}"
        values = (collection, json.dumps(list(ids)))
        found = await self._read_of(collection, lambda db: dict(self._whole(db.execute(query, values))))
        return {record.id: record for record in found.values()}

    async def by_key(self, keys: Sequence[int]) -> dict[int, ImageRecord]:
        """The records of those keys that exist, without damaged ones."""
        query = f"SELECT key, {RECORD} FROM images WHERE key {sql.ONE_OF}"
        values = (json.dumps(list(keys)),)
        return await self._threads.read(lambda db: dict(self._whole(db.execute(query, values))))

    async def intact(self, keys: Sequence[int]) -> list[int]:
        """Those of the keys that exist, without damaged ones."""
        query = f"SELECT key, {RECORD} FROM images WHERE key {sql.ONE_OF}"

        def work(db: sqlite3.Connection) -> list[int]:
            found = {key: is_whole(columns) for key, *columns in db.execute(query, (json.dumps(list(keys)),))}
            self._are_damaged(key for key, whole in found.items() if not whole)
            return [key for key in keys if found.get(key)]

        return await self._threads.read(work)

    async def ids(self, keys: Sequence[int]) -> list[str]:
        """Those of the rows that exist, in the order of the keys; of a damaged one, what it has for an id."""
        query = f"SELECT key, CAST(id AS BLOB) FROM images WHERE key {sql.ONE_OF}"
        found = await self._threads.read(lambda db: dict(db.execute(query, (json.dumps(list(keys)),))))
        return [found[key].decode(errors="replace") for key in keys if key in found]

    async def page(self, collection: str, after: str | None, limit: int) -> list[ImageRecord]:
        """At most `limit` records with ids above `after`, ascending by id (code point order).

        Damaged ones are left out: fewer than `limit` are the last ones. Raises NotFound for the collection.
        """
        query = f"SELECT key, {RECORD} FROM images WHERE collection = ? AND id > ? ORDER BY id LIMIT ?"

        def work(db: sqlite3.Connection) -> list[ImageRecord]:
            with (
                closing(db.execute(query, (collection, after or "", -1))) as found,
                closing(self._whole(found)) as whole,
            ):
                return [record for _, (_, record) in zip(range(limit), whole, strict=False)]

        return await self._read_of(collection, work)

    async def patch(self, collection: str, id: str, change: Callable[[Metadata], Metadata]) -> ImageRecord:
        """Replace the metadata by `change(metadata)`. Raises NotFound, CorruptStore, what `change` raises."""

        def work(db: sqlite3.Connection) -> ImageRecord:
            key, found = find_record(db, collection, id)
            set_metadata(db, key, change(found.metadata))
            return find_record(db, collection, id)[1]

        return await self._threads.write(work)

    async def delete(self, collection: str, id: str) -> Removed:
        """Raises NotFound."""
        return await self._threads.write(
            lambda db: sql.delete_images(db, [find_key(db, collection, id)]), makes_room=True
        )

    async def delete_keys(self, keys: Sequence[int]) -> Removed:
        """Of rows that exist."""
        return await self._threads.write(lambda db: sql.delete_images(db, keys), makes_room=True)

    async def keys(self, collection: str) -> list[int]:
        """Of all its rows, ascending. Raises NotFound for the collection."""
        query = "SELECT key FROM images WHERE collection = ? ORDER BY key"
        return await self._read_of(
            collection, lambda db: [key for (key,) in db.execute(query, (collection,))]
        )

    async def matching_keys(self, collection: str, filter: Filter) -> Keys:
        """Keys of the rows whose metadata passes, ascending, without damaged ones.

        Cancelling the call ends the scan. Raises NotFound for the collection.
        """
        stop = threading.Event()

        def work(db: sqlite3.Connection) -> Keys:
            return sql.matching_keys(db, collection, filter, stop.is_set, tuple(self._damaged_rows))

        def look_again(db: sqlite3.Connection) -> Keys:
            """Metadata that is no JSON: a row is damaged, and was not when the store was opened."""
            try:
                return work(db)
            except sqlite3.OperationalError:
                self._are_damaged(damaged_rows(db))
                return work(db)

        try:
            return await self._read_of(collection, look_again)
        finally:
            stop.set()

    async def embedding(self, collection: str, id: str, identity: str) -> Embedding | None:
        """Its embedding of this identity; None when it has none. Raises NotFound, CorruptStore."""

        def work(db: sqlite3.Connection) -> Embedding | None:
            key = find_key(db, collection, id)
            number = sql.identity_number(db, identity)
            return None if number is None else sql.read_embedding(db, key, number)

        return await self._threads.read(work)

    async def embeddings(self, collection: str, identity: str) -> AsyncIterator[tuple[list[int], Embeddings]]:
        """All embeddings of this identity in chunks of (keys, (N, D)), without what is damaged: see there."""
        number = await self._threads.read(lambda db: sql.identity_number(db, identity))
        after_key: int | None = 0
        while number is not None and after_key is not None:
            keys, rows, after_key = await self._chunk(collection, number, after_key)
            if keys:
                yield keys, rows

    async def damaged(
        self, collection: str, identity: str | None, among: Collection[int] | None = None
    ) -> list[int]:
        """Keys of the rows that are known to be damaged, or whose embedding of this identity is, in order.

        All, or those `among` these. Raises NotFound for the collection, if there is any damage.
        """
        if not self._damaged_rows and not self._damaged_vectors:
            return []

        def work(db: sqlite3.Connection) -> list[int]:
            number = None if identity is None else sql.identity_number(db, identity)
            keys = {*self._damaged_rows, *(key for key, by in tuple(self._damaged_vectors) if by == number)}
            if among is not None:
                keys.intersection_update(among)
            query = f"SELECT key FROM images WHERE collection = ? AND key {sql.ONE_OF} ORDER BY key"
            return [key for (key,) in db.execute(query, (collection, json.dumps(list(keys))))]

        return await self._read_of(collection, work)

    async def missing(self, collection: str, identity: str) -> dict[int, bool]:
        """Keys of the rows without an embedding of this identity, and whether their image is kept.

        Raises NotFound for the collection.
        """
        query = (
            "SELECT key, kept FROM images i WHERE collection = ? AND NOT EXISTS (SELECT 1 FROM embeddings e"
            " JOIN identities n ON n.number = e.identity WHERE e.key = i.key AND n.identity = ?)"
        )
        return await self._read_of(
            collection,
            lambda db: {key: bool(kept) for key, kept in db.execute(query, (collection, identity))},
        )

    async def used(self, sha256s: Sequence[str]) -> set[str]:
        """Those of the sha256 whose file some row uses."""
        return await self._threads.read(lambda db: sql.used(db, sha256s))

    async def _read_of(self, collection: str, work: Work[Result]) -> Result:
        """Only while the collection has this name: one that has got another would seem to be empty."""

        def checked(db: sqlite3.Connection) -> Result:
            require_collection(db, collection)
            return work(db)

        return await self._threads.read(checked)

    async def _chunk(
        self, collection: str, number: int, after_key: int
    ) -> tuple[list[int], Embeddings, int | None]:
        """Keys and embeddings of one chunk, and the last key of it; None when there was none."""

        def work(db: sqlite3.Connection) -> tuple[list[int], Embeddings, int | None]:
            whole, damaged = sql.read_embeddings(db, collection, number, after_key, CHUNK)
            self._damaged_vectors.update((key, number) for key in damaged)
            last = max([*damaged, *list(whole)[-1:]], default=None)
            for key in tuple(self._damaged_rows):
                whole.pop(key, None)
            return list(whole), sql.stacked(whole.values()), last

        return await self._threads.read(work)

    def _whole(self, found: Iterable[tuple[Any, ...]]) -> Generator[tuple[int, ImageRecord], None, None]:
        """Of rows of a key and a RECORD, those that are not damaged; the log hears of the others at once."""
        damaged: list[int] = []
        try:
            for key, *columns in found:
                known = record_of(tuple(columns))
                if known is None:
                    damaged.append(key)
                else:
                    yield key, known
        finally:
            self._are_damaged(damaged)

    def _are_damaged(self, rows: Iterable[int]) -> None:
        """Called in any thread."""
        new = sorted(set(rows) - self._damaged_rows)
        self._damaged_rows.update(new)
        if new:
            log.warning(
                "%d more rows of the database are damaged, the first of them is row %d", len(new), new[0]
            )

    def _are_whole(self, rows: Iterable[int]) -> None:
        """Of these rows the vectors were written, or looked at."""
        if self._damaged_vectors:
            keys = set(rows)
            known = tuple(self._damaged_vectors)  # which other threads may add to
            self._damaged_vectors.difference_update(one for one in known if one[0] in keys)

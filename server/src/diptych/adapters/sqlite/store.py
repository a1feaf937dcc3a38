"""The store of collections, images and embeddings in one SQLite file."""

# ruff: noqa: S608 - only constants of this package are inserted into statements

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from diptych.adapters.files.data_lock import LOCK_FILE, DataLock
from diptych.adapters.files.quota import Quota
from diptych.adapters.sqlite import browse, fields, identities
from diptych.adapters.sqlite import collections as tables
from diptych.adapters.sqlite import rows as sql
from diptych.adapters.sqlite.filter_cache import FilterCache
from diptych.adapters.sqlite.jobs import record
from diptych.adapters.sqlite.records import (
    RECORD,
    begin_change,
    find_key,
    find_record,
    record_of,
    require_collection,
    set_metadata,
)
from diptych.adapters.sqlite.threads import Result, SqliteThreads, Work
from diptych.core.collections.metadata.facets import FieldSummary
from diptych.core.collections.metadata.filters import Filter
from diptych.core.job import JobOutcomes
from diptych.core.types import (
    CollectionInfo,
    Embedding,
    Embeddings,
    ImageContent,
    ImageRecord,
    Keep,
    Keys,
    Metadata,
    NewRow,
    PutResult,
    Removed,
    Sizes,
    Target,
    VersionRef,
)

DATABASE = "diptych.sqlite3"
CHUNK = 4_096  # embeddings that are read at once


class SqliteStore:
    """Satisfies `core.collections.ports.RecordStore`. Holds the lock of the data folder while it is open."""

    def __init__(
        self,
        data_dir: Path,
        quota: Quota | None = None,
        lock: DataLock | None = None,
        *,
        read_only: bool = False,
        checks_beside: bool = False,
    ) -> None:
        """Open the store, blocking. Raises DataDirLocked naming the holder, StoreError, CorruptStore.

        A caller that holds the lock of the folder already passes it as `lock`; the store then owns it.
        `read_only`: see SqliteThreads. With `checks_beside` the store can be read while its database is
        checked: the caller changes nothing else in the data folder before `require_sound`.
        """
        self._lock = lock or (DataLock.shared if read_only else DataLock)(data_dir)
        self._filters = FilterCache()  # cleared by all changes of images but pure additions
        try:
            self._threads = SqliteThreads(
                data_dir / DATABASE,
                quota,
                read_only=read_only,
                checks_beside=checks_beside,
                lock_file=None if read_only else data_dir / LOCK_FILE,
            )
        except BaseException:
            self._lock.close()
            raise

    @property
    def threads(self) -> SqliteThreads:
        """The threads, for other stores in the same database."""
        return self._threads

    async def require_sound(self) -> None:
        """Wait for the check of the database. Raises CorruptStore naming the first fault."""
        await asyncio.to_thread(self.require_sound_now)

    def require_sound_now(self) -> None:
        """As `require_sound`, but blocking."""
        self._threads.require_sound()

    async def require_writable(self) -> None:
        """Raise StoreUnavailable, StoreReadOnly while writes fail; a read-only server has none."""
        await asyncio.to_thread(self._threads.require_writable)

    async def close(self) -> None:
        """Finish running work and unlock the data folder."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """As `close`, but blocking."""
        self._threads.close()
        self._lock.close()

    async def collections(self) -> list[CollectionInfo]:
        """All collections by name, with their numbers of images."""
        return await self._threads.read(tables.list_all)

    async def create_collection(
        self,
        name: str,
        keep: Keep,
        identity: str,
        ref: VersionRef,
    ) -> CollectionInfo:
        """Create a collection. Raises Conflict if the name is taken."""
        return await self._threads.write(lambda db: tables.create(db, name, keep, identity, ref))

    async def move_collection(self, c: int, target: Target, identity: str) -> None:
        """Note what makes the vectors of a collection from now on. Raises NotFound."""
        await self._threads.write(lambda db: tables.move(db, c, target, identity))

    async def record_identity(self, identity: str, source: Target) -> None:
        """Remember what makes the vectors of an identity. Writes nothing that is known already."""
        if (await self.identity_sources()).get(identity) != source:
            await self._threads.write(lambda db: identities.record_source(db, identity, source))

    async def identity_sources(self) -> dict[str, Target]:
        """What makes the vectors of each identity for which that is known."""
        return await self._threads.read(identities.sources)

    async def change_collection(self, c: int, name: str, keep: Keep) -> None:
        """Rename and configure a collection, in one transaction.

        Raises NotFound; Conflict if a new name is taken, or a job adds to the collection.
        """
        await self._threads.write(lambda db: tables.change(db, c, name, keep))

    async def drop_collection(self, c: int) -> Removed:
        """Remove a collection with all its images. Raises NotFound."""
        return await self._threads.write(
            lambda db: tables.drop(db, c), makes_room=True, then=self._filters.clear
        )

    async def sizes(self, c: int | None = None) -> dict[int, Sizes]:
        """The sizes of one collection, or of all, by number. Raises NotFound."""
        return await self._threads.read(lambda db: tables.sizes(db, c))

    async def n_bytes(self) -> int:
        """The bytes of the database and its log on the disk."""
        return await asyncio.to_thread(self._threads.n_bytes)

    async def put(
        self,
        c: int,
        rows: Sequence[NewRow],
        *,
        identity: str,
        replace: bool,
        job_outcomes: Callable[[Sequence[PutResult]], JobOutcomes] | None = None,
    ) -> list[PutResult]:
        """Add N rows in order, and record the outcomes that `news` makes of the N results, in one
        transaction.

        Raises NotFound for the collection, or for a job that has ended.
        """

        def work(db: sqlite3.Connection) -> list[PutResult]:
            change = begin_change(db, c)
            writing = sql.Writing(c, sql.add_identity(db, identity) if rows else 0, change)
            results = [sql.put_row(db, row, writing, replace=replace) for row in rows]
            for job, outcomes in ({} if job_outcomes is None else job_outcomes(results)).items():
                record(db, c, job, outcomes)
            return results

        return await self._threads.write(
            work,
            step="commit" if job_outcomes is None else "job_commit",
            then=self._filters.clear if replace else lambda: None,
        )

    async def put_embeddings(self, c: int, keys: Sequence[int], rows: Embeddings, identity: str) -> list[int]:
        """Add the embeddings of rows that still exist; return their keys."""

        def work(db: sqlite3.Connection) -> list[int]:
            change = begin_change(db, c)
            return sql.put_embeddings(db, keys, rows, sql.Writing(c, sql.add_identity(db, identity), change))

        return await self._threads.write(work, step="embed_commit")

    async def get(self, c: int, id: str) -> ImageRecord:
        """The record of an image. Raises NotFound."""
        return (await self._threads.read(lambda db: find_record(db, c, id)))[1]

    async def find(self, c: int, ids: Sequence[str]) -> dict[str, ImageRecord]:
        """The records of those ids that exist, by id. Raises NotFound for the collection."""
        query = f"SELECT {RECORD} FROM images WHERE collection = ? AND id {sql.ONE_OF}"
        values = (c, json.dumps(list(ids)))
        found = await self._read_of(c, lambda db: list(map(record_of, db.execute(query, values))))
        return {record.id: record for record in found}

    async def by_key(self, keys: Sequence[int]) -> dict[int, ImageRecord]:
        """The records of those keys that exist, by key."""
        query = f"SELECT key, {RECORD} FROM images WHERE key {sql.ONE_OF}"
        values = (json.dumps(list(keys)),)
        return await self._threads.read(
            lambda db: {key: record_of(columns) for key, *columns in db.execute(query, values)}
        )

    async def page(
        self, c: int, after: str | None, limit: int, filter: Filter | None = None
    ) -> list[ImageRecord]:
        """At most `limit` records with ids above `after` that pass the filter, by id (code point order).

        Cancelling the call ends the scan. Raises NotFound for the collection.
        """
        if filter is not None:

            def work(db: sqlite3.Connection, stopped: Callable[[], bool], n_clears: int) -> list[ImageRecord]:
                keys = self._filters.matching_keys(db, c, filter, stopped, n_clears)
                return browse.page_of(db, c, keys, after or "", limit)

            return await self._scan(c, work)
        query = f"SELECT {RECORD} FROM images WHERE collection = ? AND id > ? ORDER BY id LIMIT ?"
        values = (c, after or "", limit)
        return await self._read_of(c, lambda db: list(map(record_of, db.execute(query, values))))

    async def patch(self, c: int, id: str, change: Callable[[Metadata], Metadata]) -> ImageRecord:
        """Replace the metadata by `change(metadata)`. Raises NotFound, and what `change` raises."""

        def work(db: sqlite3.Connection) -> ImageRecord:
            number = begin_change(db, c)
            key, found = find_record(db, c, id)
            set_metadata(db, key, change(found.metadata), number)
            return find_record(db, c, id)[1]

        return await self._threads.write(work, then=self._filters.clear)

    async def delete(self, c: int, id: str) -> Removed:
        """Delete an image. Raises NotFound."""
        return await self._delete(c, lambda db: [find_key(db, c, id)])

    async def delete_keys(self, c: int, keys: Sequence[int]) -> Removed:
        """Delete existing rows by their keys."""
        return await self._delete(c, lambda db: keys)

    async def _delete(self, c: int, chosen: Work[Sequence[int]]) -> Removed:
        def work(db: sqlite3.Connection) -> Removed:
            change = begin_change(db, c)
            keys = tuple(chosen(db))
            return Removed(keys, sql.delete_images(db, c, keys), change)

        return await self._threads.write(work, makes_room=True, then=self._filters.clear)

    async def keys(self, c: int, ids: Sequence[str] | None = None) -> list[int]:
        """The keys of all rows of a collection, or of those `ids` that exist, ascending.

        Raises NotFound for the collection.
        """
        chosen, values = "ORDER BY key", tuple[int | str, ...]((c,))
        if ids is not None:
            # "+key": in the order of the index of ids. SQLite would read all rows to find them in order.
            chosen, values = f"AND id {sql.ONE_OF} ORDER BY +key", (c, json.dumps(list(ids)))
        query = f"SELECT key FROM images WHERE collection = ? {chosen}"
        return await self._read_of(c, lambda db: [key for (key,) in db.execute(query, values)])

    async def matching_keys(self, c: int, filter: Filter) -> Keys:
        """The keys of the rows whose metadata pass the filter, ascending.

        Cancelling the call ends the scan. Raises NotFound for the collection.
        """
        return await self._scan(
            c,
            lambda db, stopped, n_clears: self._filters.matching_keys(db, c, filter, stopped, n_clears),
        )

    async def fields(
        self, c: int, filter: Filter | None, limit: int, *, nested: bool = False
    ) -> FieldSummary:
        """What the fields of the metadata that passes the filter hold, each with at most `limit` values.

        With `nested`, fields inside of objects are described, too. Cancelling the call ends the scan. Raises
        NotFound for the collection.
        """

        def work(db: sqlite3.Connection, stopped: Callable[[], bool], n_clears: int) -> FieldSummary | None:
            def made() -> FieldSummary | None:
                keys = (
                    sql.all_keys(db, c)
                    if filter is None
                    else self._filters.matching_keys(db, c, filter, stopped, n_clears)
                )
                return fields.summarise(db, keys, limit, stopped, nested=nested)

            return self._filters.summary(
                db, c, filter=filter, limit=limit, nested=nested, make=made, n_clears=n_clears
            )

        found = await self._scan(c, work)
        assert found is not None, "only a cancelled call stops early"
        return found

    async def embedding(self, c: int, id: str, identity: str) -> Embedding | None:
        """The embedding of an image under this identity; None if it has none. Raises NotFound."""

        def work(db: sqlite3.Connection) -> Embedding | None:
            key = find_key(db, c, id)
            number = sql.identity_number(db, identity)
            return None if number is None else sql.read_embedding(db, key, number)

        return await self._threads.read(work)

    async def embeddings(
        self, c: int, identity: str
    ) -> AsyncIterator[tuple[list[int], Embeddings, list[int]]]:
        """All embeddings of this identity in chunks of (keys, (N, D), keys whose embedding is damaged).

        Damaged embeddings are excluded: a flipped bit can make a cosine so large that the image comes first
        in every search.
        """
        number = await self._threads.read(lambda db: sql.identity_number(db, identity))
        after_key = 0
        while number is not None:
            keys, rows, damaged = await self._threads.read(
                partial(
                    sql.read_embeddings,
                    c=c,
                    identity=number,
                    after_key=after_key,
                    limit=CHUNK,
                )
            )
            if not keys and not damaged:
                return
            yield keys, rows, damaged
            after_key = max([*keys[-1:], *damaged[-1:]])

    async def embeddings_of(self, keys: Sequence[int], identity: str) -> dict[int, Embedding]:
        """The embeddings (D,) of those images that have one of this identity."""

        def work(db: sqlite3.Connection) -> dict[int, Embedding]:
            number = sql.identity_number(db, identity)
            return {} if number is None else sql.read_embeddings_of(db, keys, number)

        return await self._threads.read(work)

    async def same_bytes(self, c: int) -> list[list[str]]:
        """The ids of images with the same bytes, ascending, in groups of two or more, by their first ids.

        Raises NotFound for the collection.
        """
        return await self._read_of(c, lambda db: browse.same_bytes(db, c))

    async def contents(self, c: int) -> list[ImageContent]:
        """What all images of the collection are compared by, by id. Raises NotFound for the collection."""
        return await self._read_of(c, lambda db: browse.contents(db, c))

    async def picture_hashes(self, keys: Sequence[int]) -> dict[int, bytes | None]:
        """The picture hashes of images by key; None where it is unknown and the image's file is kept."""
        return await self._threads.read(lambda db: sql.read_picture_hashes(db, keys))

    async def put_picture_hashes(self, hashes: Mapping[int, bytes]) -> None:
        """Store the picture hashes of those images that still exist."""
        rows = [(hash, key) for key, hash in hashes.items()]
        query = "UPDATE images SET picture_hash = ? WHERE key = ?"
        await self._threads.write(lambda db: db.executemany(query, rows) and None)

    async def missing(self, c: int, identity: str) -> dict[int, bool]:
        """The keys of rows without an embedding of this identity, each with whether its image file is kept.

        Raises NotFound for the collection.
        """
        query = (
            "SELECT key, kept FROM images i WHERE collection = ? AND NOT EXISTS (SELECT 1 FROM embeddings e"
            " JOIN identities n ON n.number = e.identity WHERE e.key = i.key AND n.identity = ?)"
        )
        return await self._read_of(
            c,
            lambda db: {key: bool(kept) for key, kept in db.execute(query, (c, identity))},
        )

    async def used_files(self, sha256s: Sequence[str]) -> set[str]:
        """Those of the sha256 whose file is used by a row."""
        return await self._threads.read(lambda db: sql.used_files(db, sha256s))

    async def _scan(
        self, c: int, work: Callable[[sqlite3.Connection, Callable[[], bool], int], Result]
    ) -> Result:
        """As `_read_of`, for long work: it also gets what says that the call was cancelled, and how often
        the filters had been cleared before.
        """
        stop, n_clears = threading.Event(), self._filters.n_clears
        try:
            return await self._read_of(c, lambda db: work(db, stop.is_set, n_clears))
        finally:
            stop.set()

    async def _read_of(self, c: int, work: Work[Result]) -> Result:
        """Run `work` if the collection exists; a renamed one would seem to be empty."""

        def checked(db: sqlite3.Connection) -> Result:
            require_collection(db, c)
            return work(db)

        return await self._threads.read(checked)

"""Reads, adds and deletes the embeddings of images."""

# ruff: noqa: S608 - only names of tables of this package are inserted into statements

from collections.abc import AsyncIterator, Sequence
from functools import partial

import numpy as np

from diptych.adapters.postgres import vector_tables
from diptych.adapters.postgres.connection import PostgresConnection
from diptych.adapters.sql import rows as sql
from diptych.adapters.sql.connection import Many, Threads, Writing
from diptych.adapters.sql.rows import ONE_OF
from diptych.adapters.sqlite import checksums
from diptych.adapters.sqlite.checksums import FLOAT
from diptych.adapters.sqlite.records import begin_change, change_of, find_key, require_collection
from diptych.adapters.sqlite.vector_rows import CHUNK, kept_identities
from diptych.core.collections.stored.ports import MISSING_AT_ONCE
from diptych.core.types import NO_ROWS, Embedding, Embeddings, VectorPage, WrittenVectors


class PostgresVectorRows:
    """Satisfies `diptych.core.collections.stored.ports.VectorRows`."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def find(self, c: int, id: str, identity: str) -> Embedding | None:
        """The embedding of an image under this identity; None if it has none. Raises NotFound."""

        def work(db: PostgresConnection) -> Embedding | None:
            key = find_key(db, c, id)
            return _embeddings_of(db, c, [key], sql.identity_number(db, identity)).get(key)

        return await self._threads.read(work)

    async def of(self, keys: Sequence[int], identity: str) -> dict[int, Embedding]:
        """The embeddings (D,) of those images that have one of this identity."""

        def work(db: PostgresConnection) -> dict[int, Embedding]:
            number = sql.identity_number(db, identity)
            query = f"SELECT DISTINCT collection FROM images WHERE key {ONE_OF}"
            found: dict[int, Embedding] = {}
            for (c,) in db.execute(query, (Many(keys),)).fetchall():
                found |= _embeddings_of(db, c, keys, number)
            return {key: found[key] for key in keys if key in found}

        return await self._threads.read(work)

    async def since(self, c: int, identity: str, change: int = 0) -> AsyncIterator[VectorPage]:
        """The embeddings of this identity that later changes than `change` wrote, by key; one page at least.

        Damaged embeddings are excluded.
        """
        after_key, is_first = 0, True
        while True:
            read = partial(_page, c=c, identity=identity, change=change, after_key=after_key)
            page = await self._threads.read(read)
            seen = [*page.keys[-1:], *page.damaged[-1:]]
            if seen or is_first:
                yield page
            if not seen:
                return
            after_key, is_first = max(seen), False

    async def last_change(self, c: int) -> int:
        """The number of the last change of the collection. Raises NotFound."""
        return await self._threads.read(lambda db: change_of(db, c))

    async def missing(
        self, c: int, identity: str, *, after: int = 0, limit: int = MISSING_AT_ONCE
    ) -> dict[int, bool]:
        """The keys of rows without an embedding of this identity, each with whether its image file is kept.

        Raises NotFound for the collection.
        """

        def work(db: PostgresConnection) -> dict[int, bool]:
            require_collection(db, c)
            table = vector_tables.find(db, c, sql.identity_number(db, identity))
            lacks = "" if table is None else f" AND NOT EXISTS (SELECT 1 FROM {table} v WHERE v.key = i.key)"
            query = (
                f"SELECT key, kept FROM images i WHERE collection = ? AND key > ?{lacks} ORDER BY key LIMIT ?"
            )
            return {key: bool(kept) for key, kept in db.execute(query, (c, after, limit))}

        return await self._threads.read(work)

    async def put(self, c: int, keys: Sequence[int], rows: Embeddings, identity: str) -> WrittenVectors:
        """Add the embeddings of rows that still exist. Raises NotFound for the collection."""

        def work(db: PostgresConnection) -> WrittenVectors:
            writing = Writing(c, sql.add_identity(db, identity), begin_change(db, c))
            query = f"SELECT key FROM images WHERE key {ONE_OF} AND collection = ?"
            there = {key for (key,) in db.execute(query, (Many(keys), c))}
            for key, row in zip(keys, rows, strict=True):
                if key in there:
                    db.dialect.put_embedding(db, key, row, writing)
            return WrittenVectors([key for key in keys if key in there], writing.change)

        return await self._threads.write(work, step="embed_commit")

    async def forget(self, c: int, limit: int, *, keep: Sequence[str] = ()) -> int:
        """Drop the vectors of one identity that is not current, previous, or in `keep`, however many it has.

        Returns how many there were; 0 when none is left.
        """

        def work(db: PostgresConnection) -> int:
            kept = kept_identities(db, c, keep)
            for identity, table in vector_tables.of_collection(db, c).items() if kept else ():
                if identity not in kept:
                    (n_vectors,) = db.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
                    if vector_tables.drop(db, [table]) and n_vectors:
                        return int(n_vectors)
            return 0

        return await self._threads.write(work, step="forget_commit", makes_room=True)


def _page(db: PostgresConnection, c: int, identity: str, change: int, after_key: int) -> VectorPage:
    """The next embeddings, whole ones and damaged ones."""
    read_at = change_of(db, c)
    number = sql.identity_number(db, identity)
    table = vector_tables.find(db, c, number)
    if table is None or number is None:
        return VectorPage([], NO_ROWS, [], read_at)
    query = f"SELECT key, embedding, checksum FROM {table} WHERE key > ? AND change > ? ORDER BY key LIMIT ?"
    found = db.execute(query, (after_key, change, CHUNK)).fetchall()
    whole = {
        key: blob for key, blob, checksum in found if checksums.vector_is_whole(blob, key, number, checksum)
    }
    rows = np.frombuffer(b"".join(whole.values()), FLOAT).reshape(len(whole), -1) if whole else NO_ROWS
    return VectorPage(list(whole), rows, [key for key, *_ in found if key not in whole], read_at)


def _embeddings_of(
    db: PostgresConnection, c: int, keys: Sequence[int], number: int | None
) -> dict[int, Embedding]:
    """The embeddings (D,) of those images of a collection that have an undamaged one."""
    table = vector_tables.find(db, c, number)
    if table is None or number is None:
        return {}
    query = f"SELECT key, embedding, checksum FROM {table} WHERE key {ONE_OF}"
    return {
        key: np.frombuffer(blob, FLOAT)
        for key, blob, checksum in db.execute(query, (Many(keys),))
        if checksums.vector_is_whole(blob, key, number, checksum)
    }

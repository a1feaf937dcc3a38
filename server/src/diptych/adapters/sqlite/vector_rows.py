"""Reads, adds and deletes the embeddings of images."""

# ruff: noqa: S608 - only constants of this package are inserted into statements

from collections.abc import AsyncIterator, Sequence
from functools import partial

import numpy as np

from diptych.adapters.sql import rows as sql
from diptych.adapters.sql.connection import Connection, Many, Threads, Writing
from diptych.adapters.sql.rows import ONE_OF
from diptych.adapters.sqlite import checksums
from diptych.adapters.sqlite.checksums import FLOAT
from diptych.adapters.sqlite.records import begin_change, change_of, find_key, of_collection
from diptych.core.collections.stored.ports import MISSING_AT_ONCE
from diptych.core.types import NO_ROWS, Embedding, Embeddings, VectorPage, WrittenVectors

CHUNK = 4_096  # embeddings that are read at once
VECTORS_SINCE = (
    "SELECT i.key, e.embedding, e.checksum FROM images i"
    " JOIN embeddings e ON e.key = i.key AND e.identity = ?"
    " WHERE i.collection = ? AND i.key > ? AND e.change > ? ORDER BY i.key LIMIT ?"
)


class SqliteVectorRows:
    """Satisfies `diptych.core.collections.stored.ports.VectorRows`."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._seen: dict[int, int] = {}  # by collection, the last key that `forget` looked at

    async def find(self, c: int, id: str, identity: str) -> Embedding | None:
        """The embedding of an image under this identity; None if it has none. Raises NotFound."""

        def work(db: Connection) -> Embedding | None:
            key = find_key(db, c, id)
            return _embeddings_of(db, [key], identity).get(key)

        return await self._threads.read(work)

    async def of(self, keys: Sequence[int], identity: str) -> dict[int, Embedding]:
        """The embeddings (D,) of those images that have one of this identity."""
        return await self._threads.read(lambda db: _embeddings_of(db, keys, identity))

    async def since(self, c: int, identity: str, change: int = 0) -> AsyncIterator[VectorPage]:
        """The embeddings of this identity that later changes than `change` wrote, by key; one page at least.

        Damaged embeddings are excluded: a flipped bit can make a cosine so large that the image comes first
        in every search.
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
        query = (
            "SELECT key, kept FROM images i WHERE collection = ? AND key > ? AND NOT EXISTS"
            " (SELECT 1 FROM embeddings e WHERE e.key = i.key AND e.identity = ?) ORDER BY key LIMIT ?"
        )

        def work(db: Connection) -> dict[int, bool]:
            values = (c, after, sql.identity_number(db, identity), limit)
            return {key: bool(kept) for key, kept in db.execute(query, values)}

        return await self._threads.read(of_collection(c, work))

    async def put(self, c: int, keys: Sequence[int], rows: Embeddings, identity: str) -> WrittenVectors:
        """Add the embeddings of rows that still exist. Raises NotFound for the collection."""

        def work(db: Connection) -> WrittenVectors:
            change = begin_change(db, c)
            return _put_all(db, keys, rows, Writing(c, sql.add_identity(db, identity), change))

        return await self._threads.write(work, step="embed_commit")

    async def forget(self, c: int, limit: int, *, keep: Sequence[str] = ()) -> int:
        """Delete at most `limit` vectors of identities that are not current, previous, or in `keep`.

        Returns how many were deleted; 0 when none is left. A call goes on where the last one ended.
        """
        found: list[tuple[int, int]] = []
        while not found:
            after_key = self._seen.pop(c, 0)
            find = partial(_unused_vectors, c=c, keep=keep, after_key=after_key, limit=limit)
            found = await self._threads.read(find)
            if not found and after_key == 0:
                return 0
        self._seen[c] = found[-1][0] - 1  # its last image may have more of them
        delete = partial(_delete_vectors, c=c, keep=keep, vectors=found)
        return await self._threads.write(delete, step="forget_commit", makes_room=True)


def _put_all(db: Connection, keys: Sequence[int], rows: Embeddings, writing: Writing) -> WrittenVectors:
    query = f"SELECT key FROM images WHERE key {ONE_OF} AND +collection = ?"
    there = {key for (key,) in db.execute(query, (Many(keys), writing.c))}
    for key, row in zip(keys, rows, strict=True):
        if key in there:
            db.dialect.put_embedding(db, key, row, writing)
    return WrittenVectors([key for key in keys if key in there], writing.change)


def _page(db: Connection, c: int, identity: str, change: int, after_key: int) -> VectorPage:
    """The next embeddings, whole ones and damaged ones."""
    read_at = change_of(db, c)
    number = sql.identity_number(db, identity)
    found = db.execute(VECTORS_SINCE, (number, c, after_key, change, CHUNK)).fetchall()
    whole = {
        key: blob
        for key, blob, checksum in found
        if number is not None and checksums.vector_is_whole(blob, key, number, checksum)
    }
    # Joining bytes is several times faster than stacking an array for each row.
    rows = np.frombuffer(b"".join(whole.values()), FLOAT).reshape(len(whole), -1) if whole else NO_ROWS
    return VectorPage(list(whole), rows, [key for key, *_ in found if key not in whole], read_at)


def _embeddings_of(db: Connection, keys: Sequence[int], identity: str) -> dict[int, Embedding]:
    """The embeddings (D,) of those images that have an undamaged one."""
    number = sql.identity_number(db, identity)
    if number is None:
        return {}
    query = f"SELECT key, embedding, checksum FROM embeddings WHERE identity = ? AND key {ONE_OF}"
    return {
        key: np.frombuffer(blob, FLOAT)
        for key, blob, checksum in db.execute(query, (number, Many(keys)))
        if checksums.vector_is_whole(blob, key, number, checksum)
    }


def _unused_vectors(
    db: Connection, c: int, keep: Sequence[str], after_key: int, limit: int
) -> list[tuple[int, int]]:
    """Key and identity of vectors that nothing needs, of images above a key, ascending."""
    query = (
        "SELECT e.key, e.identity FROM images i JOIN embeddings e ON e.key = i.key"
        f" WHERE i.collection = ? AND i.key > ? AND NOT e.identity {ONE_OF}"
        " ORDER BY i.key LIMIT ?"
    )
    kept = kept_identities(db, c, keep)
    if not kept:
        return []
    return db.execute(query, (c, after_key, Many(kept), limit)).fetchall()


def _delete_vectors(db: Connection, c: int, keep: Sequence[str], vectors: Sequence[tuple[int, int]]) -> int:
    """Delete vectors, unless a switch has made them needed meanwhile."""
    kept = kept_identities(db, c, keep)
    unused = [(key, identity) for key, identity in vectors if kept and identity not in kept]
    db.executemany("DELETE FROM embeddings WHERE key = ? AND identity = ?", unused)
    return len(unused)


def kept_identities(db: Connection, c: int, keep: Sequence[str]) -> list[int]:
    """The numbers of the identities that a collection needs; empty if it has none, or if it is gone."""
    query = "SELECT identity, previous_identity FROM collections WHERE number = ? AND identity IS NOT NULL"
    own = db.execute(query, (c,)).fetchone()
    if own is None:
        return []
    numbers = [*own, *(sql.identity_number(db, identity) for identity in keep)]
    return [number for number in numbers if number is not None]

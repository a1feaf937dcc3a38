"""Reads images, and which of them pass a filter."""

# ruff: noqa: S608 - only constants of this package are inserted into statements

import threading
from collections.abc import Callable, Sequence
from typing import Any

from diptych.adapters.sql import rows as sql
from diptych.adapters.sql.connection import Connection, Many, Result, Threads, Work
from diptych.adapters.sqlite import browse
from diptych.adapters.sqlite.metadata.filter_cache import FilterCache
from diptych.adapters.sqlite.metadata.order import rank_after
from diptych.adapters.sqlite.records import RECORD, change_of, find_record, of_collection, record_of
from diptych.core.collections.metadata.facets import FieldSummary, Months
from diptych.core.collections.metadata.filters import Filter, Path
from diptych.core.collections.metadata.ordering import OrderBy, Place
from diptych.core.types import ImageContent, ImageRecord, Keys, PassingKeys


class SqlRows:
    """Satisfies `diptych.core.collections.stored.ports.Rows` and `FilteredRows`."""

    def __init__(self, threads: Threads, filters: FilterCache) -> None:
        self._threads = threads
        self._filters = filters

    async def get(self, c: int, id: str) -> ImageRecord:
        """The record of an image. Raises NotFound."""
        return (await self._threads.read(lambda db: find_record(db, c, id)))[1]

    async def find(self, c: int, ids: Sequence[str]) -> dict[str, ImageRecord]:
        """The records of those ids that exist, by id. Raises NotFound for the collection."""
        query = f"SELECT {RECORD} FROM images WHERE collection = ? AND id {sql.ONE_OF}"
        values = (c, Many(ids))
        found = await self._read_of(c, lambda db: list(map(record_of, db.execute(query, values))))
        return {record.id: record for record in found}

    async def by_key(self, keys: Sequence[int]) -> dict[int, ImageRecord]:
        """The records of those keys that exist, by key."""
        query = f"SELECT key, {RECORD} FROM images WHERE key {sql.ONE_OF}"
        values = (Many(keys),)
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

            def work(db: Connection, stopped: Callable[[], bool], n_clears: int) -> list[ImageRecord]:
                keys = self._filters.matching_keys(db, c, filter, stopped, n_clears)
                return browse.page_of(db, c, keys, after or "", limit)

            return await self._scan(c, work)
        query = f"SELECT {RECORD} FROM images WHERE collection = ? AND id > ? ORDER BY id LIMIT ?"
        values = (c, after or "", limit)
        return await self._read_of(c, lambda db: list(map(record_of, db.execute(query, values))))

    async def ordered_page(
        self, c: int, order_by: OrderBy, after: Place | None, limit: int, filter: Filter | None = None
    ) -> list[ImageRecord]:
        """At most `limit` records after a place that pass the filter, in the order of a metadata field.

        Cancelling the call ends the scan. Raises NotFound for the collection.
        """

        def work(db: Connection, stopped: Callable[[], bool], n_clears: int) -> list[ImageRecord]:
            def made() -> Keys | None:
                chosen = self._chosen(db, c, filter, stopped, n_clears)
                return db.dialect.ordered_keys(db, c, chosen, order_by, stopped)

            keys = self._filters.result(db, c, filter, order_by, make=made, n_clears=n_clears)
            if keys is None:  # cancelled
                return []
            start = 0 if after is None else rank_after(db, keys, order_by, after)
            return browse.records_of(db, keys[start : start + limit].tolist())

        return await self._scan(c, work)

    async def keys(self, c: int, ids: Sequence[str] | None = None) -> list[int]:
        """The keys of all rows of a collection, or of those `ids` that exist, ascending.

        Raises NotFound for the collection.
        """
        chosen, values = "ORDER BY key", tuple[Any, ...]((c,))
        if ids is not None:
            # "+key": in the order of the index of ids. SQLite would read all rows to find them in order.
            chosen, values = f"AND id {sql.ONE_OF} ORDER BY +key", (c, Many(ids))
        query = f"SELECT key FROM images WHERE collection = ? {chosen}"
        return await self._read_of(c, lambda db: [key for (key,) in db.execute(query, values)])

    async def count(self, c: int, filter: Filter | None = None) -> int:
        """The number of rows that pass the filter. Raises NotFound for the collection."""
        if filter is not None:
            return len((await self.passing(c, filter)).keys)
        query = "SELECT count(*) FROM images WHERE collection = ?"
        return int(await self._read_of(c, lambda db: db.execute(query, (c,)).fetchone()[0]))

    async def passing(self, c: int, filter: Filter) -> PassingKeys:
        """The keys of the rows whose metadata pass the filter.

        Cancelling the call ends the scan. Raises NotFound for the collection.
        """

        def work(db: Connection, stopped: Callable[[], bool], n_clears: int) -> PassingKeys:
            change = change_of(db, c)
            return PassingKeys(self._filters.matching_keys(db, c, filter, stopped, n_clears), change)

        return await self._scan(c, work)

    async def fields(
        self, c: int, filter: Filter | None, limit: int, *, nested: bool = False
    ) -> FieldSummary:
        """Summarise the metadata fields of images that pass the filter, each with at most `limit` values.

        With `nested`, fields inside of objects are described, too. Cancelling the call ends the scan. Raises
        NotFound for the collection.
        """

        def work(db: Connection, stopped: Callable[[], bool], n_clears: int) -> FieldSummary | None:
            def made() -> FieldSummary | None:
                keys = self._chosen(db, c, filter, stopped, n_clears)
                if keys is None:
                    keys = sql.all_keys(db, c)
                return db.dialect.summarise(db, keys, limit, stopped, nested=nested)

            return self._filters.result(db, c, filter, (limit, nested), make=made, n_clears=n_clears)

        found = await self._scan(c, work)
        assert found is not None, "only a cancelled call stops early"
        return found

    async def months(self, c: int, path: Path, filter: Filter | None) -> Months:
        """Count the images that pass the filter by the month of a metadata field.

        Cancelling the call ends the scan. Raises NotFound for the collection.
        """

        def work(db: Connection, stopped: Callable[[], bool], n_clears: int) -> Months | None:
            def made() -> Months | None:
                chosen = self._chosen(db, c, filter, stopped, n_clears)
                return db.dialect.months(db, c, chosen, OrderBy(path), stopped)

            return self._filters.result(db, c, filter, ("months", path), make=made, n_clears=n_clears)

        found = await self._scan(c, work)
        assert found is not None, "only a cancelled call stops early"
        return found

    async def texts(self, c: int, path: Path, filter: Filter | None) -> dict[str, int]:
        """Count the images that pass the filter by the text of a metadata field.

        Cancelling the call ends the scan. Raises NotFound for the collection.
        """

        def work(db: Connection, stopped: Callable[[], bool], n_clears: int) -> dict[str, int] | None:
            def made() -> dict[str, int] | None:
                chosen = self._chosen(db, c, filter, stopped, n_clears)
                return db.dialect.texts(db, c, chosen, OrderBy(path), stopped)

            return self._filters.result(db, c, filter, ("texts", path), make=made, n_clears=n_clears)

        found = await self._scan(c, work)
        assert found is not None, "only a cancelled call stops early"
        return found

    async def same_bytes(self, c: int) -> list[list[str]]:
        """The ids of images with the same bytes, ascending, in groups of two or more, by their first ids.

        Raises NotFound for the collection.
        """
        return await self._read_of(c, lambda db: browse.same_bytes(db, c))

    async def contents(self, c: int) -> list[ImageContent]:
        """The hashes that images of the collection are compared by, by id. Raises NotFound."""
        return await self._read_of(c, lambda db: browse.contents(db, c))

    async def originals(self, c: int, after: int, limit: int) -> dict[int, str]:
        """The sha256 of at most `limit` kept images with keys above `after`, by key. Raises NotFound."""
        query = (
            "SELECT key, sha256 FROM images WHERE collection = ? AND key > ? AND kept <> 0"
            " ORDER BY key LIMIT ?"
        )
        return await self._read_of(c, lambda db: dict(db.execute(query, (c, after, limit))))

    async def hashes(self, keys: Sequence[int]) -> dict[int, bytes | None]:
        """The picture hashes of images by key; None where it is unknown and the image's file is kept."""
        query = (
            f"SELECT key, picture_hash FROM images WHERE key {sql.ONE_OF}"
            " AND (picture_hash IS NOT NULL OR kept <> 0)"
        )
        values = (Many(keys),)
        return await self._threads.read(lambda db: dict(db.execute(query, values)))

    async def used_files(self, sha256s: Sequence[str]) -> set[str]:
        """The sha256s, of those given, whose file a row uses."""
        return await self._threads.read(lambda db: sql.used_files(db, sha256s))

    def _chosen(
        self,
        db: Connection,
        c: int,
        filter: Filter | None,
        stopped: Callable[[], bool],
        n_clears: int,
    ) -> Keys | None:
        """The keys of the rows that pass the filter; None for all."""
        return None if filter is None else self._filters.matching_keys(db, c, filter, stopped, n_clears)

    async def _scan(self, c: int, work: Callable[[Connection, Callable[[], bool], int], Result]) -> Result:
        """As `_read_of`, for long work. `work` also gets a function that returns whether the call was
        cancelled, and the number of times that the filters had been cleared before.
        """
        stop, n_clears = threading.Event(), self._filters.n_clears
        try:
            return await self._read_of(c, lambda db: work(db, stop.is_set, n_clears))
        finally:
            stop.set()

    async def _read_of(self, c: int, work: Work[Result]) -> Result:
        return await self._threads.read(of_collection(c, work))

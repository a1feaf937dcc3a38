"""The files of libraries, and the images that refer to them."""

# ruff: noqa: S608 - only constants of this package are inserted into statements

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from diptych.adapters.sql.connection import Connection, Many, Threads
from diptych.adapters.sql.rows import ONE_OF
from diptych.adapters.sqlite.records import begin_change, change_of, find_record, of_collection, set_metadata
from diptych.adapters.sqlite.row_writer import delete_images
from diptych.adapters.sqlite.schema import REFERENCED
from diptych.adapters.sqlite.text_index import writing_words
from diptych.core.collections.metadata.reserved import FILE, with_missing
from diptych.core.libraries.ports import FilePlace, LibraryFile, Stamp
from diptych.core.types import Metadata, Removed

_COLUMNS = "path, n_bytes, modified_ns, device, sha256, problem, missing_since"
_PUT = (
    f"INSERT INTO library_files (collection, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (collection, path) DO UPDATE SET n_bytes = excluded.n_bytes,"
    " modified_ns = excluded.modified_ns, device = excluded.device, sha256 = excluded.sha256,"
    " problem = excluded.problem, missing_since = excluded.missing_since"
)
# Files of a collection with the sha256 of an image `i`.
_OF_IMAGE = "library_files f WHERE f.collection = i.collection AND f.sha256 = i.sha256"


class SqlLibraries:
    """Satisfies `diptych.core.libraries.ports.LibraryRows`."""

    def __init__(self, threads: Threads, on_change: Callable[[], None]) -> None:
        """`on_change` is called after changes of images, before they are acknowledged."""
        self._threads = threads
        self._on_change = on_change

    async def files(self, c: int) -> list[LibraryFile]:
        """All known files of a library. Raises NotFound."""
        query = f"SELECT {_COLUMNS} FROM library_files WHERE collection = ?"
        return await self._threads.read(
            of_collection(c, lambda db: [_file_of(*row) for row in db.execute(query, (c,))])
        )

    async def places(self, sha256: str) -> list[FilePlace]:
        """Where the bytes with this sha256 should be, those that are not missing first."""
        query = (
            "SELECT c.name, f.path, f.device, f.missing_since FROM library_files f"
            " JOIN collections c ON c.number = f.collection WHERE f.sha256 = ?"
            " ORDER BY f.missing_since IS NOT NULL, c.name, f.path"
        )
        return await self._threads.read(
            lambda db: [
                FilePlace(library, bytes(path), device, since is not None)
                for library, path, device, since in db.execute(query, (sha256,))
            ]
        )

    async def images(self, c: int, sha256s: Collection[str]) -> dict[str, str]:
        """The ids of images that refer to files, by sha256."""
        query = (
            f"SELECT sha256, id FROM images WHERE sha256 {ONE_OF} AND collection = ? AND kept = {REFERENCED}"
        )
        values = (Many(sha256s), c)
        return await self._threads.read(lambda db: dict(db.execute(query, values)))

    async def sizes(self, sha256s: Collection[str]) -> dict[str, int]:
        """The bytes of files that images of any library refer to, by sha256."""
        query = f"SELECT sha256, n_bytes FROM images WHERE sha256 {ONE_OF} AND kept = {REFERENCED}"
        values = (Many(sha256s),)
        return await self._threads.read(lambda db: dict(db.execute(query, values)))

    async def deleted(self, c: int, sha256s: Collection[str]) -> set[str]:
        """Those of the sha256 whose images a person has deleted."""
        query = f"SELECT sha256 FROM library_deleted WHERE collection = ? AND sha256 {ONE_OF}"
        values = (c, Many(sha256s))
        return await self._threads.read(lambda db: {sha256 for (sha256,) in db.execute(query, values)})

    async def restore(self, c: int, sha256s: Collection[str]) -> None:
        """Forget that a person has deleted images with these sha256."""
        query = f"DELETE FROM library_deleted WHERE collection = ? AND sha256 {ONE_OF}"
        if sha256s:
            await self._threads.write(lambda db: db.execute(query, (c, Many(sha256s))))

    async def record(
        self,
        c: int,
        files: Sequence[LibraryFile],
        *,
        gone: Collection[bytes] = (),
        described: Mapping[str, Metadata] | None = None,
    ) -> None:
        """Put known files, forget those that are gone, and set the `file` of images by sha256."""

        def work(db: Connection) -> None:
            change = begin_change(db, c) if described else change_of(db, c)
            if files:
                db.executemany(_PUT, [_values_of(c, file) for file in files])
            for path in gone:
                db.execute("DELETE FROM library_files WHERE collection = ? AND path = ?", (c, path))
            if described:
                with writing_words(db, c) as words:
                    for sha256, file in described.items():
                        for key, id in _images_of(db, c, [sha256]):
                            before = find_record(db, c, id)[1].metadata
                            set_metadata(db, key, before | {FILE: file}, change, words)

        await self._threads.write(work, then=self._on_change if described else lambda: None)

    async def mark_missing(self, c: int, paths: Collection[bytes], since: str) -> Removed:
        """Note that files are missing; images none of whose files is there lose their vectors."""

        def work(db: Connection) -> Removed:
            change = begin_change(db, c)
            for path in paths:
                db.execute(
                    "UPDATE library_files SET missing_since = ? WHERE collection = ? AND path = ?"
                    " AND missing_since IS NULL",
                    (since, c, path),
                )
            there = f"EXISTS (SELECT 1 FROM {_OF_IMAGE} AND f.missing_since IS NULL)"
            lost = _images_of(db, c, _sha256s_of(db, c, paths), f" AND NOT {there}")
            with writing_words(db, c) as words:
                for key, id in lost:
                    metadata = with_missing(find_record(db, c, id)[1].metadata, since)
                    set_metadata(db, key, metadata, change, words)
            keys = tuple(key for key, _ in lost)
            db.dialect.delete_embeddings(db, c, keys)
            return Removed(keys, (), change)

        return await self._threads.write(work, then=self._on_change)

    async def tidy(self, c: int, before: str) -> Removed:
        """Forget files that are missing for long, and delete images of no file."""

        def work(db: Connection) -> Removed:
            change = begin_change(db, c)
            db.execute("DELETE FROM library_files WHERE collection = ? AND missing_since < ?", (c, before))
            query = (
                f"SELECT key FROM images i WHERE collection = ? AND kept = {REFERENCED}"
                f" AND NOT EXISTS (SELECT 1 FROM {_OF_IMAGE})"
            )
            keys = tuple(int(key) for (key,) in db.execute(query, (c,)))
            return delete_images(db, c, keys, change) if keys else Removed((), (), change)

        return await self._threads.write(work, makes_room=True, then=self._on_change)


def _images_of(db: Connection, c: int, sha256s: Iterable[str], condition: str = "") -> list[tuple[int, str]]:
    """The keys and ids of images that refer to files with these sha256."""
    query = (
        f"SELECT key, id FROM images i WHERE sha256 {ONE_OF} AND collection = ? AND kept = {REFERENCED}"
        f"{condition}"
    )
    return [(int(key), id) for key, id in db.execute(query, (Many(sha256s), c))]


def _sha256s_of(db: Connection, c: int, paths: Iterable[bytes]) -> set[str]:
    query = "SELECT sha256 FROM library_files WHERE collection = ? AND path = ?"
    found = (db.execute(query, (c, path)).fetchone() for path in paths)
    return {row[0] for row in found if row is not None and row[0] is not None}


def _file_of(path: Any, n_bytes: int, modified_ns: int, device: str, *rest: Any) -> LibraryFile:
    return LibraryFile(bytes(path), Stamp(n_bytes, modified_ns, device), *rest)


def _values_of(c: int, file: LibraryFile) -> tuple[Any, ...]:
    stamp = dataclasses.astuple(file.stamp)
    return (c, file.path, *stamp, file.sha256, file.problem, file.missing_since)

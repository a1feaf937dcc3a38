"""Reads one consistent state of a database while another process writes to it."""

# ruff: noqa: S608 - only names from this module are inserted into statements

import errno
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from diptych.adapters.files.database_id import refuse_rows_elsewhere
from diptych.adapters.files.private_files import make_new
from diptych.adapters.sqlite import text_index
from diptych.adapters.sqlite.checksums import damaged_rows, damaged_vectors, vectors_of_no_change
from diptych.adapters.sqlite.dialect import SqliteConnection
from diptych.adapters.sqlite.records import IS_THERE
from diptych.adapters.sqlite.schema import (
    DAMAGED_ROW,
    NUMBERED,
    REFERENCED,
    WITH_WORDS,
    connect_immutable,
    is_of_damaged_row,
    is_of_damaged_tables,
    require_known,
    require_sound,
    schema_version,
)
from diptych.core.backup import Counts, DamagedImage, Fault, File, LostImage
from diptych.errors import CorruptStore, StoreError

BUSY_S = 30.0
_KEPT = "(SELECT * FROM images WHERE kept = 1)"  # in the data folder
# What images refer to their collections by, and their names, in a folder of any known schema.
_NAMES = "CREATE TEMP VIEW collection_names AS SELECT {reference} AS collection, name FROM main.collections"
# The images `i` of the collection with a name.
OF_NAME = "i.collection = (SELECT collection FROM collection_names WHERE name = ?)"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class SqliteSnapshot:
    """A read transaction in WAL mode, for a `with` block.

    It sees the last commit before it was opened. It neither waits for the writer nor makes it wait, and needs
    no lock of the data folder. While it is open, SQLite cannot reuse the write-ahead log.
    """

    def __init__(self, file: Path, *, immutable: bool = False) -> None:
        """Raises StoreError if the file is not a diptych database or has an unknown schema; CorruptStore.

        `immutable`: nobody writes to the file, and no file is made next to it.
        """
        self._file = file
        with _translated(file):
            self._db = _open(file, immutable=immutable)
            try:
                self.schema_version = _known_version(self._db, file)
                reference = "number" if self.schema_version >= NUMBERED else "name"
                self._db.execute(_NAMES.format(reference=reference))
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._db.close()

    def counts(self) -> Counts:
        """The numbers of collections, images and files, and the bytes of the files.

        Without dropped collections and their images that are not removed yet; their files are there.
        """
        there = f"SELECT collection FROM collection_names WHERE {IS_THERE}"
        with _translated(self._file):
            (n_collections,) = self._db.execute(f"SELECT count(*) FROM ({there})").fetchone()
            (n_images,) = self._db.execute(
                f"SELECT count(*) FROM images WHERE collection IN ({there})"
            ).fetchone()
            n_files, n_bytes = self._db.execute(
                "SELECT count(*), coalesce(sum(n_bytes), 0) FROM"
                f" (SELECT max(n_bytes) AS n_bytes FROM {_KEPT} GROUP BY sha256)"
            ).fetchone()
            (n_referenced,) = self._db.execute(
                f"SELECT count(*) FROM images WHERE kept = {REFERENCED} AND collection IN ({there})"
            ).fetchone()
        return Counts(n_collections, n_images, n_files, n_bytes, n_referenced)

    def has_files(self) -> bool:
        """Whether rows refer to image files. An index answers, in a fraction of the time of `counts`."""
        return next(self.read(f"SELECT 1 FROM {_KEPT} LIMIT 1"), None) is not None

    def files(self) -> Iterator[File]:
        """(sha256, bytes) of each image file that rows refer to, once."""
        return self.read(f"SELECT sha256, max(n_bytes) FROM {_KEPT} GROUP BY sha256")

    def keys_of(self, sha256: str) -> set[int]:
        """The keys of the images with this file. A key is never reused."""
        return {key for (key,) in self.read(f"SELECT key FROM {_KEPT} WHERE sha256 = ?", (sha256,))}

    def lost_images(self, faults: Mapping[str, Fault]) -> tuple[LostImage, ...]:
        """The images whose files are missing or damaged."""
        query = (
            f"SELECT name, id FROM {_KEPT} JOIN collection_names USING (collection) WHERE sha256 = ?"
            " ORDER BY name, id"
        )
        return tuple(
            LostImage(collection, id, sha256, fault)
            for sha256, fault in faults.items()
            for collection, id in self.read(query, (sha256,))
        )

    def require_sound(self) -> tuple[str, ...]:
        """Raises CorruptStore naming the first fault in the structure of the database, as at a start.

        Returns the collections whose index of words is damaged, which a start makes again.
        """
        with _translated(self._file):
            damaged = require_sound(self._db)
            if self.schema_version < WITH_WORDS:
                return ()
            numbers = text_index.faulty(self._db, damaged)
            names = self._db.execute("SELECT number, name FROM collections ORDER BY name")
            return tuple(name for number, name in names if number in numbers)

    def damaged_images(self) -> tuple[DamagedImage, ...]:
        """The images whose row or vector differs from its checksum."""
        with _translated(self._file):
            rows = [DamagedImage(*self._named(key), "row") for key in damaged_rows(self._db)]
            keys = dict.fromkeys(damaged_vectors(self._db))
            if self.schema_version >= NUMBERED:
                keys |= dict.fromkeys(vectors_of_no_change(self._db))
            vectors = [DamagedImage(*self._named(key), "vector") for key in keys]
        return (*rows, *vectors)

    def differing_words(self) -> tuple[DamagedImage, ...]:
        """The images that are indexed with other words than those of their row."""
        if self.schema_version < WITH_WORDS:
            return ()
        with _translated(self._file):
            return tuple(DamagedImage(*self._named(key), "words") for key in text_index.differing(self._db))

    def _named(self, key: int) -> tuple[str, str]:
        """The collection and id of a row, as far as they can be read."""
        query = (
            "SELECT CAST(name AS BLOB), CAST(id AS BLOB)"
            " FROM images LEFT JOIN collection_names USING (collection) WHERE key = ?"
        )
        row = self._db.execute(query, (key,)).fetchone()
        if row is None:  # a vector without its row
            return "?", f"key {key}, which has no row"
        collection, id = row
        return (collection or b"?").decode(errors="replace"), id.decode(errors="replace")

    def read(self, query: str, values: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Iterate over the rows of a query."""
        with _translated(self._file):
            yield from self._db.execute(query, values)

    def origin(self) -> str:
        """The identifier of this data folder: the time at which its database was made, to the microsecond."""
        query = "SELECT applied_at FROM schema_version ORDER BY version LIMIT 1"
        with _translated(self._file):
            return str(self._db.execute(query).fetchone()[0])

    def copy_to(self, file: Path) -> None:
        """Write this state to one new file, without fsync, and check that it is sound.

        Raises CorruptStore, StoreError, and OSError if the new file does not fit on the disk.
        """
        make_new(file)
        with _translated(self._file), closing(sqlite3.connect(file, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = OFF")
            self._db.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode = DELETE")  # so that the copy is a single file
            require_sound(copy)  # as at a start


def _open(file: Path, *, immutable: bool) -> SqliteConnection:
    """Open a read-only connection and begin a read transaction."""
    refuse_rows_elsewhere(file.parent)
    if not file.is_file():
        raise StoreError(f"{file.parent} is not a data folder: it has no {file.name}")
    if immutable:
        db = connect_immutable(file)
    else:
        uri = f"{file.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S, factory=SqliteConnection)
    try:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _known_version(db: sqlite3.Connection, file: Path) -> int:
    made = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'").fetchone()
    version = schema_version(db) if made else 0
    if version == 0:
        raise StoreError(f"{file} holds no collections: it is empty, or not a database of diptych")
    require_known(version)
    return version


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    """Raise errors of SQLite in the block as CorruptStore or StoreError; a full disk as OSError (ENOSPC)."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        if is_of_damaged_row(error):
            raise CorruptStore(f"{file}: {DAMAGED_ROW}") from None  # the error contains text of the row
        if code in _DAMAGED or is_of_damaged_tables(error):
            raise CorruptStore(f"database {file} is damaged: {error}") from error
        raise StoreError(f"database {file} cannot be read: {error}") from error

"""The words of images in FTS5 tables, one for each collection, written in the transaction of the row.

The rowid is the key of the image. The columns hold tokens joined by spaces: see
`core.collections.metadata.tokens`.
Rows of a collection with keys above `unindexed_after`, up to `unindexed_until`, are not in its table yet:
they were there before, and are indexed in the background, by ascending keys.
"""

# ruff: noqa: S608 - only numbers of collections and constants of this package are inserted into statements

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from diptych.adapters.sql.connection import Connection, Many
from diptych.adapters.sql.rows import ONE_OF
from diptych.core.collections.metadata.words import Document, document_of
from diptych.core.types import Metadata, TextFields

LOG = logging.getLogger("diptych.store")
WEIGHTS = (2.0, 1.5, 1.0)  # of a word in a name, in a caption, and in any other text
_STATE = "text_fields, unindexed_after, unindexed_until"
_NEXT = (
    "SELECT key, CAST(id AS BLOB), CAST(metadata AS BLOB) FROM images"
    " WHERE collection = ? AND key > ? AND key <= ? ORDER BY key LIMIT ?"
)


@dataclass
class TextIndex:
    """The index of the words of one collection: the fields that it has, and the rows that it lacks yet.

    `documents` are written by `flush`, all at once: every other statement that may fail in part makes FTS5
    write what it has, row by row.
    """

    c: int
    fields: TextFields
    after: int
    until: int
    documents: dict[int, Document] = field(default_factory=dict)  # by the key of the image

    @property
    def table(self) -> str:
        """The name of its table."""
        return f"words_{self.c}"

    def add(self, key: int, id: str, metadata: Metadata) -> None:
        """Index a row that is not in the table. One whose turn has not come yet is left for later."""
        if not self.after < key <= self.until:
            self.documents[key] = document_of(id, metadata, self.fields)

    def remove(self, db: Connection, keys: Sequence[int]) -> None:
        """Take rows out."""
        written = [key for key in keys if self.documents.pop(key, None) is None]
        db.execute(f"DELETE FROM {self.table} WHERE rowid {ONE_OF}", (Many(written),))

    def flush(self, db: Connection) -> None:
        """Write the documents of the rows that were added."""
        statement = f"INSERT INTO {self.table} (rowid, name, caption, other) VALUES (?, ?, ?, ?)"
        rows = ((key, one.name, one.caption, one.other) for key, one in self.documents.items())
        db.executemany(statement, rows)
        self.documents.clear()

    def is_whole(self, db: Connection) -> bool:
        """Whether the table has exactly the rows that it should have."""
        indexed = "SELECT key FROM images WHERE collection = ?1 AND (key <= ?2 OR key > ?3)"
        values = (self.c, self.after, self.until)
        differing = (
            f"SELECT 1 FROM images i WHERE i.key IN ({indexed})"
            f" AND NOT EXISTS (SELECT 1 FROM {self.table}_content w WHERE w.id = i.key)"
            f" UNION ALL SELECT 1 FROM {self.table}_content w WHERE w.id NOT IN ({indexed}) LIMIT 1"
        )
        return db.execute(differing, values).fetchone() is None


def text_index(db: Connection, c: int) -> TextIndex:
    """The index of an existing collection."""
    fields, after, until = db.execute(f"SELECT {_STATE} FROM collections WHERE number = ?", (c,)).fetchone()
    return TextIndex(c, fields_of(fields), after, until)


@contextmanager
def writing_words(db: Connection, c: int) -> Iterator[TextIndex]:
    """The index of an existing collection, for a block that changes rows; written when the block ends."""
    index = text_index(db, c)
    yield index
    index.flush(db)


def fields_of(text: str | None) -> tuple[str, ...] | None:
    """Read the stored list of fields."""
    return None if text is None else tuple(json.loads(text))


def stored_fields(fields: TextFields) -> str | None:
    """Write a list of fields as `fields_of` reads it."""
    return None if fields is None else json.dumps(list(fields))


def drop(db: Connection, c: int) -> None:
    """Drop the table of a collection."""
    db.execute(f"DROP TABLE IF EXISTS words_{c}")


def begin_again(db: Connection, c: int) -> None:
    """Empty the table; all rows are indexed again in the background."""
    drop(db, c)
    db.dialect.create_words(db, c)
    db.execute(
        "UPDATE collections SET unindexed_after = 0, unindexed_until ="
        " (SELECT coalesce(max(key), 0) FROM images WHERE collection = ?1) WHERE number = ?1",
        (c,),
    )


def index_next(db: Connection, c: int, limit: int) -> int:
    """Index the next rows that are not indexed yet; return how many. Damaged metadata have no words."""
    index = text_index(db, c)
    found = db.execute(_NEXT, (c, index.after, index.until, limit)).fetchall()
    after = index.until if len(found) < limit else found[-1][0]
    db.execute("UPDATE collections SET unindexed_after = ? WHERE number = ?", (after, c))
    done = TextIndex(c, index.fields, after, index.until)
    for key, id, metadata in found:
        done.add(key, id.decode(errors="replace"), _metadata_of(metadata))
    done.flush(db)
    return len(found)


def n_unindexed(db: Connection, index: TextIndex) -> int:
    """The number of rows that are not indexed yet."""
    query = "SELECT count(*) FROM images WHERE collection = ? AND key > ? AND key <= ?"
    (n_rows,) = db.execute(query, (index.c, index.after, index.until)).fetchone()
    return int(n_rows)


def faulty(db: Connection, damaged: Sequence[str] = ()) -> dict[int, str]:
    """The collections, by number, whose table is missing, or is named in `damaged`, or has other rows than it
    should have; with what is wrong.
    """
    found = dict[int, str]()
    for (c,) in db.execute("SELECT number FROM collections").fetchall():
        index = text_index(db, c)
        if _is_missing(db, index):
            found[c] = "missing"
        elif index.table in damaged or not index.is_whole(db):
            found[c] = "damaged"
    return found


def differing(db: Connection) -> Iterator[int]:
    """The keys of rows that are indexed with other words than theirs. Reads all metadata."""
    for (c,) in db.execute("SELECT number FROM collections").fetchall():
        index = text_index(db, c)
        if _is_missing(db, index):
            continue
        # Texts as bytes: a damaged one may not be UTF-8 any more, and would make the whole query fail.
        query = (
            "SELECT i.key, CAST(i.id AS BLOB), CAST(i.metadata AS BLOB), CAST(w.name AS BLOB),"
            " CAST(w.caption AS BLOB), CAST(w.other AS BLOB)"
            f" FROM images i CROSS JOIN {index.table} w ON w.rowid = i.key WHERE i.collection = ?"
        )
        for key, id, metadata, *words in db.execute(query, (c,)):
            document = document_of(id.decode(errors="replace"), _metadata_of(metadata), index.fields)
            if words != [text.encode() for text in (document.name, document.caption, document.other)]:
                yield key


def mend(db: Connection, damaged: Sequence[str] = ()) -> None:
    """Begin again where a table is faulty, in one transaction."""
    if not (found := faulty(db, damaged)):
        return
    db.execute("BEGIN IMMEDIATE")
    for c, fault in found.items():
        (name,) = db.execute("SELECT name FROM collections WHERE number = ?", (c,)).fetchone()
        if fault == "damaged":
            LOG.warning("the words of collection %s are indexed again: the index is damaged", name)
        else:
            LOG.info("the words of collection %s are indexed", name)
        begin_again(db, c)
    db.execute("COMMIT")


def _is_missing(db: Connection, index: TextIndex) -> bool:
    return db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (index.table,)).fetchone() is None


def _metadata_of(text: Any) -> Metadata:
    with suppress(ValueError, RecursionError):
        metadata = json.loads(text)
        if isinstance(metadata, dict):
            return metadata
    return {}

"""Checksums of rows and vectors, which detect damage that SQLite's own structure does not show.

CRC-32 detects every change within 32 bits of a row, such as a flipped bit or a wrong byte, and all but one in
4,000,000,000 of the other changes. A cryptographic hash would cost several times as much (the CRC-32 of a 2
kB vector takes less than a microsecond), and would not stop a forger, who could write the hash as well.
"""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import sqlite3
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import numpy as np

# Texts as bytes: a damaged one may not be UTF-8 any more, and would make the whole query fail.
CONTENT = (
    "CAST(id AS BLOB), CAST(sha256 AS BLOB), n_bytes, CAST(media_type AS BLOB), width, height,"
    " CAST(metadata AS BLOB), CAST(created_at AS BLOB), kept"
)
FLOAT = np.dtype("<f4")


def of_row(*content: Any) -> int:
    """The checksum of the values of CONTENT. Raises TypeError for values of types that no valid row has."""
    return crc32(b"%b\n%b\n%d\n%b\n%d\n%d\n%b\n%b\n%d" % content)


def of_vector(embedding: bytes, key: int, identity: int) -> int:
    """The checksum of the vector of one image (`key`) under one identity."""
    return crc32(embedding, (key * 1_000_003 + identity) & 0xFFFF_FFFF)


def row_is_whole(content: tuple[Any, ...], checksum: Any) -> bool:
    """Whether the values of CONTENT match their checksum."""
    try:
        return bool(of_row(*content) == checksum)
    except TypeError:
        return False


def vector_is_whole(embedding: Any, key: int, identity: int, checksum: Any) -> bool:
    """Whether the vector matches its checksum."""
    return isinstance(embedding, bytes) and of_vector(embedding, key, identity) == checksum


def damaged_rows(db: sqlite3.Connection) -> Iterator[int]:
    """The keys of all damaged rows."""
    for key, checksum, *content in db.execute(f"SELECT key, checksum, {CONTENT} FROM images NOT INDEXED"):
        if not row_is_whole(tuple(content), checksum):
            yield key


def vectors_of_no_change(db: sqlite3.Connection) -> Iterator[int]:
    """The keys of rows with a vector that no change of its collection can have written: it is not read.

    The checksum of a vector does not cover the change.
    """
    query = (
        "SELECT i.key FROM embeddings e JOIN images i ON i.key = e.key"
        " JOIN collections c ON c.number = i.collection WHERE e.change NOT BETWEEN 1 AND c.change"
    )
    for (key,) in db.execute(query):
        yield key


def damaged_vectors(db: sqlite3.Connection) -> Iterator[int]:
    """The keys of rows with a damaged vector."""
    query = "SELECT key, identity, embedding, checksum FROM embeddings NOT INDEXED"
    for key, identity, embedding, checksum in db.execute(query):
        if not vector_is_whole(embedding, key, identity, checksum):
            yield key

"""Reads one collection from a snapshot, row by row, for an export."""

# ruff: noqa: S608 - only constants of this package are inserted into statements

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from diptych.adapters.sqlite.checksums import FLOAT
from diptych.adapters.sqlite.records import IS_THERE
from diptych.adapters.sqlite.snapshot import OF_NAME, SqliteSnapshot
from diptych.core.transfer import Row
from diptych.errors import NotFound


def model_of(snapshot: SqliteSnapshot, collection: str) -> str:
    """The model that the collection belongs to. Raises NotFound naming the existing collections."""
    models = dict(snapshot.read(f"SELECT name, model FROM collections WHERE {IS_THERE} ORDER BY name"))
    if collection not in models:
        raise NotFound(f"no collection named {collection!r}; there is: {', '.join(models) or 'none'}")
    return str(models[collection])


def n_images(snapshot: SqliteSnapshot, collection: str) -> int:
    """The number of rows that `rows` returns."""
    ((count,),) = snapshot.read(f"SELECT count(*) FROM images i WHERE {OF_NAME}", (collection,))
    return int(count)


def n_vectors(snapshot: SqliteSnapshot, collection: str) -> dict[str, int]:
    """The number of vectors in the collection, by identity."""
    query = (
        "SELECT n.identity, count(*) FROM images i JOIN embeddings e ON e.key = i.key"
        f" JOIN identities n ON n.number = e.identity WHERE {OF_NAME} GROUP BY n.identity"
    )
    return dict(snapshot.read(query, (collection,)))


def embed_dim(snapshot: SqliteSnapshot, identity: str) -> int:
    """The dimension of the vectors of this identity."""
    query = (
        "SELECT length(embedding) FROM embeddings"
        " WHERE identity = (SELECT number FROM identities WHERE identity = ?) LIMIT 1"
    )
    ((n_bytes,),) = snapshot.read(query, (identity,))
    return int(n_bytes) // FLOAT.itemsize


def rows(snapshot: SqliteSnapshot, collection: str, identity: str) -> Iterator[tuple[Row, bool]]:
    """The rows in order of creation, each with whether the data folder has its image file."""
    # NOT INDEXED reads the table in key order; with an index SQLite would sort all rows first.
    query = (
        "SELECT id, sha256, media_type, width, height, metadata, created_at, embedding, kept"
        " FROM images i NOT INDEXED"
        " LEFT JOIN embeddings e ON e.key = i.key AND e.identity ="
        f" (SELECT number FROM identities WHERE identity = ?) WHERE {OF_NAME} ORDER BY i.key"
    )
    for *described, is_kept in snapshot.read(query, (identity, collection)):
        row = Row(*described)
        embedding = None if row.embedding is None else np.frombuffer(row.embedding, FLOAT)
        yield replace(row, embedding=embedding), is_kept == 1

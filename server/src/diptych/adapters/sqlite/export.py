"""Reads collections at one moment, row by row, for an export."""

# ruff: noqa: S608 - only constants of this package are inserted into statements

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from diptych.adapters.sqlite.checksums import FLOAT
from diptych.adapters.sqlite.records import IS_THERE
from diptych.adapters.sqlite.schema import VERSION
from diptych.adapters.sqlite.snapshot import OF_NAME, SqliteSnapshot
from diptych.core.transfer import ExportedLabelSet, ExportedVerdict, Row, Setup
from diptych.errors import ConfigError, NotFound

_ROW = "id, sha256, media_type, width, height, metadata, created_at, embedding, kept"


class SqlExport(ABC):
    """What both databases answer alike. Satisfies `adapters.backup.parquet_export.ExportSource`, with the
    methods of each.
    """

    def setups(self) -> list[Setup]:
        """The collections by name, with what they are set to."""
        query = f"SELECT name, keep, text_fields FROM collections WHERE {IS_THERE} ORDER BY name"
        return [
            Setup(name, keep, None if fields is None else tuple(json.loads(fields)))
            for name, keep, fields in self._read(query)
        ]

    def label_sets(self, collection: str) -> list[ExportedLabelSet]:
        """The label sets of a collection, with the verdicts on pictures that it has now."""
        query = (
            "SELECT number, name, definition FROM label_sets"
            " WHERE collection = (SELECT number FROM collections WHERE name = ?) ORDER BY name"
        )
        sets = list(self._read(query, (collection,)))
        return [
            ExportedLabelSet(name, json.loads(definition), self._verdicts(collection, number))
            for number, name, definition in sets
        ]

    def model_of(self, collection: str) -> str:
        """The model that the collection belongs to. Raises NotFound naming the existing collections."""
        models = dict(self._read(f"SELECT name, model FROM collections WHERE {IS_THERE} ORDER BY name"))
        if collection not in models:
            raise NotFound(f"no collection named {collection!r}; there is: {', '.join(models) or 'none'}")
        return str(models[collection])

    def _verdicts(self, collection: str, label_set: int) -> tuple[ExportedVerdict, ...]:
        """A verdict belongs to the bytes of a picture: one image that has them is named."""
        query = (
            "SELECT min(i.id), v.labels, v.drawn, v.sha256 FROM verdicts v"
            " JOIN images i ON i.sha256 = v.sha256"
            " AND i.collection = (SELECT number FROM collections WHERE name = ?)"
            " WHERE v.label_set = ? GROUP BY v.sha256, v.labels, v.drawn ORDER BY 1"
        )
        found = self._read(query, (collection, label_set))
        return tuple(
            ExportedVerdict(id, tuple(json.loads(labels)), bool(drawn), sha256)
            for id, labels, drawn, sha256 in found
        )

    @abstractmethod
    def _read(self, query: str, values: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Iterate over the rows of a query."""


class SqliteExport(SqlExport):
    """A snapshot of the database in a data folder or a backup."""

    def __init__(self, snapshot: SqliteSnapshot) -> None:
        self._snapshot = snapshot

    def setups(self) -> list[Setup]:
        """The collections by name. Raises ConfigError for a database of an earlier release."""
        if self._snapshot.schema_version < VERSION:
            raise ConfigError(
                f"the database has schema {self._snapshot.schema_version}, and all collections are exported "
                f"of {VERSION}: serve the folder once with this release, or export the collections one by one"
            )
        return super().setups()

    def n_images(self, collection: str) -> int:
        """The number of rows that `rows` returns."""
        ((count,),) = self._read(f"SELECT count(*) FROM images i WHERE {OF_NAME}", (collection,))
        return int(count)

    def n_vectors(self, collection: str) -> dict[str, int]:
        """The number of vectors in the collection, by identity."""
        query = (
            "SELECT n.identity, count(*) FROM images i JOIN embeddings e ON e.key = i.key"
            f" JOIN identities n ON n.number = e.identity WHERE {OF_NAME} GROUP BY n.identity"
        )
        return dict(self._read(query, (collection,)))

    def embed_dim(self, collection: str, identity: str) -> int:
        """The dimension of the vectors of this identity."""
        query = (
            "SELECT length(embedding) FROM embeddings"
            " WHERE identity = (SELECT number FROM identities WHERE identity = ?) LIMIT 1"
        )
        ((n_bytes,),) = self._read(query, (identity,))
        return int(n_bytes) // FLOAT.itemsize

    def rows(self, collection: str, identity: str) -> Iterator[tuple[Row, bool]]:
        """The rows in order of creation, each with whether the data folder has its image file."""
        # NOT INDEXED reads the table in key order; with an index SQLite would sort all rows first.
        query = (
            f"SELECT {_ROW} FROM images i NOT INDEXED"
            " LEFT JOIN embeddings e ON e.key = i.key AND e.identity ="
            f" (SELECT number FROM identities WHERE identity = ?) WHERE {OF_NAME} ORDER BY i.key"
        )
        return map(row_of, self._read(query, (identity, collection)))

    def _read(self, query: str, values: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, ...]]:
        return self._snapshot.read(query, values)


def row_of(values: tuple[Any, ...]) -> tuple[Row, bool]:
    """A row of `rows`, from its columns."""
    *described, is_kept = values
    row = Row(*described)
    embedding = None if row.embedding is None else np.frombuffer(row.embedding, FLOAT)
    return replace(row, embedding=embedding), is_kept == 1

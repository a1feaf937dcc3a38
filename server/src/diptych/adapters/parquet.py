"""Writes and reads collections as Parquet files, a row group at a time."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diptych.core.transfer import Heading, LostRow, Row, VectorSource
from diptych.core.types import Embedding
from diptych.durable import fsync_file, fsync_folder
from diptych.errors import InvalidValue

KEY = b"diptych"  # in the file's metadata
FORMAT = 1
GROUP_ROWS = 5_000
GROUP_BYTES = 64_000_000
BATCH_ROWS = 1_000
BATCH_ROWS_WITH_IMAGES = 64
COLUMNS = ("id", "sha256", "media_type", "width", "height", "metadata", "created_at", "embedding")
IMAGE = "image"
_ABSENT = {"sha256": "", "metadata": "{}"}  # the value of null, in files by other programs
_UNREADABLE = (
    OSError,
    pa.ArrowException,
    UnicodeDecodeError,
)  # for damaged pages, and for damaged text in them


class ParquetWriter:
    """Writes rows to one file, which appears under its name when the `with` block ends without an error.

    It holds at most GROUP_ROWS rows and about GROUP_BYTES in memory.
    """

    def __init__(self, file: Path, heading: Heading, *, with_images: bool) -> None:
        """Raises OSError."""
        self._file = file
        self._unfinished = file.with_name(f".tmp-{file.name}")
        self._schema = _schema(heading, with_images)
        self._dim = heading.embed_dim
        self._rows: list[Row] = []
        self._n_bytes = 0
        compression = {name: "none" if name == IMAGE else "zstd" for name in self._schema.names}
        self._writer = pq.ParquetWriter(
            self._unfinished,
            self._schema,
            use_dictionary=["media_type"],
            compression=compression,
            write_page_checksum=True,  # the only checksum of the vectors
        )

    def add(self, row: Row) -> None:
        """Add a row, which is written with its row group."""
        self._rows.append(row)
        self._n_bytes += len(row.metadata) + len(row.image or b"") + self._dim * 4
        if len(self._rows) == GROUP_ROWS or self._n_bytes >= GROUP_BYTES:
            self._flush()

    def __enter__(self) -> "ParquetWriter":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            self._writer.close()
            self._unfinished.unlink(missing_ok=True)

    def _finish(self) -> None:
        self._flush()
        self._writer.close()
        fsync_file(self._unfinished)
        self._unfinished.replace(self._file)
        fsync_folder(self._file.absolute().parent)

    def _flush(self) -> None:
        if self._rows:
            columns = [
                _column(self._schema.field(name), self._rows, self._dim) for name in self._schema.names
            ]
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows, self._n_bytes = [], 0


class ParquetReader:
    """Reads an exported file, optionally with its images. Raises InvalidValue naming what is wrong."""

    def __init__(self, file: Path, *, with_images: bool = True) -> None:
        self._name = str(file)
        try:
            self._file = pq.ParquetFile(file, page_checksum_verification=True)  # where pages have checksums
        except (OSError, pa.ArrowException) as error:
            raise InvalidValue(f"cannot be read as Parquet: {error}", self._name) from error
        self.n_rows: int = self._file.metadata.num_rows
        self.heading = self._heading()
        self.has_images = with_images and IMAGE in self._file.schema_arrow.names
        self._require_columns()

    def batches(self) -> Iterator[Sequence[Row | LostRow]]:
        """Iterate over the rows in batches.

        A damaged page loses the rest of its row group, and nothing else.
        """
        columns = [*COLUMNS, *([IMAGE] if self.has_images else [])]
        n_rows = BATCH_ROWS_WITH_IMAGES if self.has_images else BATCH_ROWS
        first = 1  # number of the first row of the group, counted from 1
        for group in range(
            self._file.num_row_groups
        ):  # one group at a time: read together they would stay in memory
            n_read = 0
            try:
                for batch in self._file.iter_batches(n_rows, row_groups=[group], columns=columns):
                    yield self._rows(batch)
                    n_read += len(batch)
            except _UNREADABLE as error:
                yield self._lost(group, n_read, first, f"the file is damaged there: {error}")
            first += self._file.metadata.row_group(group).num_rows

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _lost(self, group: int, n_read: int, first: int, reason: str) -> list[LostRow]:
        """The rows of a group after the `n_read` that were read."""
        try:
            names = self._file.read_row_group(group, columns=["id"])["id"].to_pylist()
        except _UNREADABLE:
            names = [f"row {n}" for n in range(first, first + self._file.metadata.row_group(group).num_rows)]
        return [LostRow(name, reason) for name in names[n_read:]]

    def _heading(self) -> Heading:
        try:
            stated = json.loads((self._file.schema_arrow.metadata or {})[KEY])
            if stated["format"] > FORMAT:
                raise InvalidValue(
                    f"has format {stated['format']}, this version of diptych knows up to {FORMAT}", self._name
                )
            return Heading(
                stated["collection"],
                VectorSource(**stated["maker"]),
                stated["identity"],
                int(stated["embed_dim"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidValue(
                "is not an export of a collection: its metadata does not name the model of its vectors",
                self._name,
            ) from error

    def _require_columns(self) -> None:
        schema, ours = self._file.schema_arrow, _schema(self.heading, self.has_images)
        for field in ours:
            if field.name not in schema.names or schema.field(field.name).type != field.type:
                raise InvalidValue(f"has no column {field.name} of {field.type}", self._name)

    def _rows(self, batch: pa.RecordBatch) -> list[Row]:
        names = [name for name in batch.schema.names if name not in {"created_at", "embedding"}]
        columns = [_values(batch.column(name), _ABSENT.get(name)) for name in names]
        moments = map(_iso, batch.column("created_at"))
        vectors = _vectors(batch.column("embedding"), self.heading.embed_dim)
        return [
            Row(**dict(zip(names, values, strict=True)), created_at=created_at, embedding=vector)
            for *values, created_at, vector in zip(*columns, moments, vectors, strict=True)
        ]


def _values(column: pa.Array, absent: str | None = None) -> list[Any]:
    return [absent if value is None else value for value in column.to_pylist()]


def _schema(heading: Heading, with_images: bool) -> pa.Schema:
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("media_type", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),  # JSON
        pa.field("created_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("embedding", pa.list_(pa.float32(), heading.embed_dim)),
    ]
    if with_images:
        fields.append(pa.field(IMAGE, pa.binary()))
    return pa.schema(fields, metadata={KEY: json.dumps({"format": FORMAT, **asdict(heading)}).encode()})


def _column(field: pa.Field, rows: Sequence[Row], dim: int) -> pa.Array:
    if field.name == "embedding":
        return _list_array(rows, dim)
    values = [getattr(row, field.name) for row in rows]
    if field.name == "created_at":
        values = [datetime.fromisoformat(value) for value in values]
    return pa.array(values, field.type)


def _list_array(rows: Sequence[Row], dim: int) -> pa.FixedSizeListArray:
    """The embeddings (N, D), with null for rows without one."""
    matrix = np.zeros((len(rows), dim), np.float32)
    absent = np.zeros(len(rows), np.bool_)
    for index, row in enumerate(rows):
        if row.embedding is None:
            absent[index] = True
        else:
            matrix[index] = row.embedding
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), dim, mask=pa.array(absent))


def _vectors(column: pa.FixedSizeListArray, dim: int) -> Iterator[Embedding | None]:
    matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)  # without the null rows
    present = iter(matrix)
    for is_there in column.is_valid().to_pylist():
        yield next(present) if is_there else None


def _iso(moment: pa.TimestampScalar) -> str:
    try:
        when: datetime | None = moment.as_py()
    except OverflowError:  # a year outside Python's range
        return ""
    return "" if when is None else when.astimezone(UTC).isoformat(timespec="milliseconds")

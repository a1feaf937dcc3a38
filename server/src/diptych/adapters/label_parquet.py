"""Labels of images as Parquet files: the lines of an export as rows, and rows of any program."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diptych.errors import InvalidValue

AT_ONCE = 10_000  # rows that are converted at a time
_TEXTS = pa.list_(pa.string())
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("labels", _TEXTS, nullable=False),
        pa.field("proposed", _TEXTS, nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("margin", pa.float32(), nullable=False),
        pa.field("by", pa.string(), nullable=False),
        pa.field("drawn", pa.bool_(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)
READ = ("id", "label", "labels", "by", "drawn", "sha256")  # columns, also of files by other programs


def write_labels(file: Path, lines: Iterable[bytes]) -> int:
    """Write the lines of an export as JSON Lines; return how many. Raises OSError."""
    n_rows = 0
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        left = iter(lines)
        while rows := [json.loads(line) for line in islice(left, AT_ONCE)]:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
            n_rows += len(rows)
    return n_rows


def read_labels(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, of the columns READ that are there. Raises InvalidValue naming the file."""
    try:
        with pq.ParquetFile(file) as opened:
            columns = [name for name in READ if name in opened.schema_arrow.names]
            for batch in opened.iter_batches(AT_ONCE, columns=columns):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InvalidValue(f"cannot be read as Parquet: {error}", str(file)) from error

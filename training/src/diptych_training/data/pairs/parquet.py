"""Parquet files of captions with image paths, or with the images themselves; knows nothing of images.

A group of rows is read on its own, a few rows at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from diptych_training.data.pairs.pair import Entry, Pair, Shard, Unusable, required, texts_of
from diptych_training.data.pairs.patience import patiently, read_patiently
from diptych_training.data.pairs.table import Columns, entry_at
from diptych_training.data.pairs.urls import folder_of, name_of, open_url
from diptych_training.errors import DataError

BATCH_ROWS = 64
MISSING = "Parquet files need pyarrow: pip install 'diptych-training[parquet]'"


@dataclass(frozen=True)
class ParquetShard:
    """One group of rows of a file."""

    url: str
    group: int
    first_row: int  # of the file, counted from 0
    image_column: str
    caption_columns: tuple[str, ...]
    images_root: str
    max_bytes: int

    @property
    def location(self) -> str:
        """Path or URL of the file."""
        return self.url

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """One entry a row. DataError when the file cannot be read."""
        return read_patiently(self.url, self._read, start)

    def _read(self, start: int) -> Iterator[Entry]:
        number = 0
        with open_url(self.url) as source:
            file = _opened(self.url, source)
            batches = file.iter_batches(
                batch_size=BATCH_ROWS,
                row_groups=[self.group],
                columns=[self.image_column, *self.caption_columns],
                use_threads=False,
            )
            for batch in batches:
                rows = batch.to_pylist() if number + len(batch) > start else []
                for offset, row in enumerate(rows):
                    if number + offset >= start:
                        yield self._entry(row, self.first_row + number + offset)
                number += len(batch)

    def _entry(self, row: dict[str, Any], number: int) -> Entry:
        name = f"{name_of(self.url)}:{number}"
        try:
            captions = [text for column in self.caption_columns for text in _strings(row[column], column)]
        except ValueError as error:
            return Unusable(name, str(error))
        image = row[self.image_column]
        if isinstance(image, dict):  # as `datasets` keeps images
            image = image.get("bytes") or image.get("path")
        if isinstance(image, bytes):
            return self._embedded(name, image, captions)
        if not isinstance(image, str):
            return Unusable(name, f"column {self.image_column!r} holds no path and no image")
        return entry_at(image, self.images_root, captions, self.max_bytes, f"row {number}")

    def _embedded(self, name: str, image: bytes, captions: list[str]) -> Entry:
        try:
            if len(image) > self.max_bytes:
                raise ValueError(f"has {len(image)} bytes, limit is {self.max_bytes}")
            return Pair(name, image, texts_of(captions))
        except ValueError as error:
            return Unusable(name, str(error))


def parquet_shards(url: str, columns: Columns, images_root: str | None, max_bytes: int) -> list[Shard]:
    """One shard a group of rows. DataError when the file is none, or lacks the columns."""
    names, counts = patiently(url, lambda: _layout(url))
    image, captions = columns.found(names, url)
    root = folder_of(url) if images_root is None else images_root
    shards: list[Shard] = []
    first_row = 0
    for group, count in enumerate(counts):
        if count:
            shards.append(ParquetShard(url, group, first_row, image, captions, root, max_bytes))
        first_row += count
    return required(shards, url)


def _layout(url: str) -> tuple[list[str], list[int]]:
    """Names of the columns, and the number of rows in each group."""
    with open_url(url) as source:
        file = _opened(url, source)
        groups = range(file.num_row_groups)
        return file.schema_arrow.names, [file.metadata.row_group(group).num_rows for group in groups]


def _opened(url: str, source: object) -> Any:
    try:
        from pyarrow import ArrowException  # noqa: PLC0415  an extra
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ImportError:
        raise DataError(f"{url}: {MISSING}") from None
    try:
        return ParquetFile(source)
    except ArrowException as error:
        raise DataError(f"{url}: not a Parquet file: {error}") from error


def _strings(value: Any, column: str) -> list[str]:
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise ValueError(f"column {column!r} holds neither a text nor a list of texts")
    return cast(list[str], values)

"""Read Parquet files of captions with image paths, or with embedded images.

Each row group is a shard, and is read a few rows at a time.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, cast

from diptych_training.data.pairs.pair import Entry, Pair, Shard, Unusable, require_shards, texts_of
from diptych_training.data.pairs.remote.retry import read_with_retries, reason_of, retry
from diptych_training.data.pairs.remote.streams import MonitoredFile, can_seek
from diptych_training.data.pairs.remote.urls import folder_of, open_url
from diptych_training.data.pairs.sources.table import Columns, ReadImage, RowLocation, entry_at, image_reader
from diptych_training.errors import DataError

BATCH_ROWS = 64
MISSING = "Parquet files need pyarrow: pip install 'diptych-training[parquet]'"


@dataclass(frozen=True)
class ParquetShard:
    """One row group of a file."""

    url: str
    prefix: str
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

    @property
    def files(self) -> tuple[str, ...]:
        """The file."""
        return (self.url,)

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """One entry per row; if the row group is damaged, all rows from there on are unusable.

        DataError if the file cannot be read.
        """
        return read_with_retries(
            self.url, partial(self._read, with_images=with_images, excluded=excluded), start, step
        )

    def _read(self, start: int, step: int, *, with_images: bool, excluded: Set[str]) -> Iterator[Entry]:
        number = 0  # of a batch's first row in the group
        read = image_reader(self.images_root, self.max_bytes, with_images=with_images)
        with open_url(self.url) as opened:
            source = MonitoredFile(opened)
            file = _opened(self.url, source)
            batches = self._batches(file, with_images=with_images)
            while True:
                try:
                    batch = next(batches, None)
                except Exception as error:  # from Arrow's decoders, or from the file system
                    if source.has_failed:
                        raise
                    n_rows = file.metadata.row_group(self.group).num_rows
                    lost = range(max(start, number + (start - number) % step), n_rows, step)
                    yield from repeat(self._damage(self.first_row + number, error), len(lost))
                    return
                if batch is None:
                    return
                for offset in range(max(start - number, (start - number) % step), len(batch), step):
                    yield self._entry(batch, offset, self.first_row + number + offset, read, excluded)
                number += len(batch)

    def _batches(self, file: Any, *, with_images: bool) -> Iterator[Any]:
        columns = [*self.caption_columns]
        if with_images or _holds_strings(file, self.image_column):
            columns.append(self.image_column)
        yield from file.iter_batches(BATCH_ROWS, row_groups=[self.group], columns=columns, use_threads=False)

    def _damage(self, row: int, error: Exception) -> Unusable:
        name = f"{self.prefix}:row group {self.group}"
        return Unusable(
            name, f"row {row} cannot be read, and the rest of the group is lost: {reason_of(error)}"
        )

    def _entry(self, batch: Any, offset: int, row: int, read: ReadImage, excluded: Set[str]) -> Entry:
        name = f"{self.prefix}:{row}"
        try:
            captions = [
                text
                for column in self.caption_columns
                for text in _strings(_cell(batch, column, offset), column)
            ]
            has_image = self.image_column in batch.schema.names
            image = _cell(batch, self.image_column, offset) if has_image else b""
        except ValueError as error:
            return Unusable(name, str(error))
        if isinstance(image, dict):  # the format of Hugging Face `datasets`
            image = image.get("bytes") or image.get("path")
        if isinstance(image, bytes):
            return self._embedded(name, image, captions)
        if not isinstance(image, str):
            return Unusable(name, f"column {self.image_column!r} holds neither a path nor an image")
        return entry_at(image, captions, read, RowLocation(self.prefix, row), excluded)

    def _embedded(self, name: str, image: bytes, captions: list[str]) -> Entry:
        try:
            if len(image) > self.max_bytes:
                raise ValueError(f"has {len(image)} bytes, limit is {self.max_bytes}")
            return Pair(name, image, texts_of(captions, origin="tables"))
        except ValueError as error:
            return Unusable(name, str(error))


def parquet_shards(
    url: str, prefix: str, columns: Columns, images_root: str | None, max_bytes: int
) -> list[Shard]:
    """One shard per row group. DataError if it is not a Parquet file or lacks the columns."""
    names, counts = retry(url, lambda: _layout(url))
    image, captions = columns.found(names, url)
    root = folder_of(url) if images_root is None else images_root
    shards: list[Shard] = []
    first_row = 0
    for group, count in enumerate(counts):
        if count:
            shards.append(ParquetShard(url, prefix, group, first_row, image, captions, root, max_bytes))
        first_row += count
    return require_shards(shards, url)


def _layout(url: str) -> tuple[list[str], list[int]]:
    """Column names, and the number of rows in each row group."""
    with open_url(url) as source:
        if not can_seek(source):
            raise DataError(
                f"{url}: its server states no size, but Parquet is read from its end: copy it to a folder"
            )
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
        return ParquetFile(source, page_checksum_verification=True)
    except ArrowException as error:
        raise DataError(f"{url}: not a Parquet file: {error}") from error


def _holds_strings(file: Any, column: str) -> bool:
    """True if the image column holds paths rather than images."""
    return "string" in str(file.schema_arrow.field(column).type)[:12]


def _cell(batch: Any, column: str, offset: int) -> Any:
    """The value of a cell. ValueError if it is not UTF-8."""
    try:
        return batch.column(batch.schema.names.index(column))[offset].as_py()
    except UnicodeDecodeError:
        raise ValueError(f"column {column!r} is not UTF-8") from None


def _strings(value: Any, column: str) -> list[str]:
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise ValueError(f"column {column!r} holds neither a text nor a list of texts")
    return cast(list[str], values)

"""CSV and TSV files of image paths and captions, cut where rows end; knows nothing of images.

A table is read through once to find where its rows are. Then any part of it can be read on its own, without
holding the table in memory.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import fsspec
from fsspec.core import url_to_fs

from diptych_training.data.files import replacing
from diptych_training.data.pairs.pair import Entry, Pair, Shard, Unusable, required, texts_of
from diptych_training.data.pairs.patience import is_local, patiently
from diptych_training.data.pairs.urls import folder_of, join, open_url, read_url
from diptych_training.errors import DataError
from diptych_training.paths import cache_dir

ROWS = 100  # a part: few, so that parts in a random order mix a sorted table well
IMAGE_COLUMNS = (
    "image", "path", "filepath", "file_path", "file", "filename", "file_name", "image_path",
    "url", "image_url",
)  # fmt: skip
CAPTION_COLUMNS = ("caption", "text", "title", "description", "captions", "label")
CHUNK = 1 << 20


@dataclass(frozen=True)
class Columns:
    """Which columns hold image and captions, by name; found by the usual names where none is given."""

    image: str | None = None
    captions: tuple[str, ...] = ()

    def found(self, names: Sequence[str], what: str) -> tuple[str, tuple[str, ...]]:
        """The columns of a table that has these. DataError that lists them."""
        image = _one(self.image, IMAGE_COLUMNS, names, f"{what}: image column", "image_column")
        if not self.captions:
            caption = _one(None, CAPTION_COLUMNS, names, f"{what}: caption column", "caption_columns")
            return image, (caption,)
        return image, tuple(
            _one(one, (), names, f"{what}: caption column", "caption_columns") for one in self.captions
        )


@dataclass(frozen=True)
class Table:
    """What is the same for all parts of a table. `file` is the table itself, or a local copy of it."""

    url: str
    file: Path
    delimiter: str
    image_column: int
    caption_columns: tuple[int, ...]
    images_root: str
    max_bytes: int


@dataclass(frozen=True)
class TableShard:
    """Some consecutive rows of a table: bytes `start_byte` to `end_byte`, from line `first_line` on."""

    table: Table
    start_byte: int
    end_byte: int
    first_line: int

    @property
    def location(self) -> str:
        """Path or URL of the table."""
        return self.table.url

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """One entry a row. An image that is not there is an unusable entry."""
        with self.table.file.open("rb") as file:
            file.seek(self.start_byte)
            text = file.read(self.end_byte - self.start_byte).decode()
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self.table.delimiter)
        for number, row in enumerate(row for row in rows if row):
            if number >= start:
                yield self._entry(row, self.first_line + rows.line_num - 1)

    def _entry(self, row: list[str], line: int) -> Entry:
        table = self.table
        n_needed = max(table.image_column, *table.caption_columns) + 1
        if len(row) < n_needed:
            return Unusable(f"line {line}", f"it has {len(row)} columns, not {n_needed}")
        path = row[table.image_column]
        captions = [row[column] for column in table.caption_columns]
        return entry_at(path, table.images_root, captions, table.max_bytes, f"line {line}")


def entry_at(path: str, root: str, captions: list[str], max_bytes: int, row: str) -> Entry:
    """The pair of an image at a path or URL, which names it, with its captions."""
    try:
        texts = texts_of(captions)
        if not path:
            raise ValueError("it names no image")
        return Pair(path, read_url(join(root, path), max_bytes), texts)
    except ValueError as error:
        return Unusable(f"{row} ({path})" if path else row, str(error))


def table_shards(url: str, columns: Columns, images_root: str | None, max_bytes: int) -> list[Shard]:
    """The parts of a CSV or TSV file whose first row names its columns. DataError that names the line."""
    file = _local(url)
    delimiter = "\t" if url.endswith(".tsv") else ","
    with file.open("rb") as opened:
        rows = _rows(opened, delimiter, url)
        try:
            names, line, at = next(rows)
        except StopIteration:
            raise DataError(f"{url} is empty: its first row must name its columns") from None
        image, captions = columns.found(names, url)
        table = Table(
            url=url,
            file=file,
            delimiter=delimiter,
            image_column=names.index(image),
            caption_columns=tuple(names.index(caption) for caption in captions),
            images_root=folder_of(url) if images_root is None else images_root,
            max_bytes=max_bytes,
        )
        shards: list[Shard] = []
        first_line, first_byte, n_rows = line + 1, at, 0
        for _, line, at in rows:
            n_rows += 1
            if n_rows == ROWS:
                shards.append(TableShard(table, first_byte, at, first_line))
                first_line, first_byte, n_rows = line + 1, at, 0
        if n_rows:
            shards.append(TableShard(table, first_byte, at, first_line))
    return required(shards, url)


def _rows(file: BinaryIO, delimiter: str, url: str) -> Iterator[tuple[list[str], int, int]]:
    """(row, number of its last line, byte at which it ends) of each row that is not empty."""
    n_bytes = 0

    def lines() -> Iterator[str]:
        nonlocal n_bytes
        for raw in file:
            text = raw.decode("utf-8-sig" if n_bytes == 0 else "utf-8")
            n_bytes += len(raw)
            yield text

    reader = csv.reader(lines(), delimiter=delimiter)
    try:
        for row in reader:
            if row:
                yield row, reader.line_num, n_bytes
    except UnicodeDecodeError:
        raise DataError(f"{url} line {reader.line_num + 1} is not UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{url} line {reader.line_num}: {error}; is a quotation mark left open?") from None


def _one(given: str | None, usual: Sequence[str], names: Sequence[str], what: str, key: str) -> str:
    candidates = usual if given is None else (given,)
    for candidate in candidates:
        if candidate in names:
            return candidate
    missing = f"{given!r} is not there" if given else f"none is called {', '.join(usual)}"
    raise DataError(f"{what}: {missing}; data.pairs.{key} names one of: {', '.join(names)}")


def _local(url: str) -> Path:
    """The table, or a copy of what a server has now: parts of it are read in any order."""
    if is_local(url):
        open_url(url).close()
        return Path(url)
    fs, path = url_to_fs(url)
    version = patiently(url, lambda: str(fs.ukey(path)))
    copy = cache_dir() / "tables" / f"{sha256(f'{url} {version}'.encode()).hexdigest()}{Path(path).suffix}"
    if not copy.exists():
        patiently(url, lambda: _copy(url, copy))
    return copy


def _copy(url: str, copy: Path) -> None:
    with fsspec.open(url, "rb") as source, replacing(copy) as target:
        while chunk := source.read(CHUNK):
            target.write(chunk)

"""Read CSV and TSV files of image paths and captions.

A table is scanned once to find where its rows are. Then any part of it can be read alone, without holding the
table in memory.
"""

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from diptych_training.data.pairs.pair import (
    Entry,
    Pair,
    Shard,
    Texts,
    Unusable,
    excluded_entry,
    require_shards,
    texts_of,
)
from diptych_training.data.pairs.remote.retry import is_local, retry
from diptych_training.data.pairs.remote.urls import folder_of, join, name_of, open_url, read_url
from diptych_training.data.pairs.sources.changes import file_tag
from diptych_training.data.pairs.sources.rows import Row, read_rows
from diptych_training.data.pairs.sources.tar_shard import IMAGE_ENDINGS
from diptych_training.errors import DataError
from diptych_training.files import open_atomic, open_regular
from diptych_training.paths import cache_dir

ROWS_PER_SHARD = 100  # few, so that shards in random order mix a sorted table well
IMAGE_COLUMNS = (
    "image", "path", "filepath", "file_path", "file", "filename", "file_name", "image_path",
    "url", "image_url",
)  # fmt: skip
IMAGE_SETTING = "--image-column, or data.pairs.image_column in a recipe,"
CAPTION_SETTING = "--caption-column, or data.pairs.caption_columns in a recipe,"
CAPTION_COLUMNS = ("caption", "text", "title", "description", "captions", "label")
CHUNK = 1 << 20


@dataclass(frozen=True)
class Columns:
    """Names of the columns with image and captions; the usual names are tried if none is given."""

    image: str | None = None
    captions: tuple[str, ...] = ()

    def found(self, names: Sequence[str], what: str) -> tuple[str, tuple[str, ...]]:
        """The image column and caption columns among `names`. DataError listing the names."""
        image = _find_column(self.image, IMAGE_COLUMNS, names, f"{what}: image column", IMAGE_SETTING)
        if not self.captions:
            caption = _find_column(None, CAPTION_COLUMNS, names, f"{what}: caption column", CAPTION_SETTING)
            return image, (caption,)
        return image, tuple(
            _find_column(one, (), names, f"{what}: caption column", CAPTION_SETTING) for one in self.captions
        )


@dataclass(frozen=True)
class RowLocation:
    """A row of a table; `row` is its line number or row number."""

    prefix: str
    row: int


@dataclass(frozen=True)
class Table:
    """The values that all shards of a table share. `file` is the table itself, or a local copy."""

    url: str
    prefix: str
    file: Path
    delimiter: str
    n_columns: int
    image_column: int
    caption_columns: tuple[int, ...]
    images_root: str
    max_bytes: int

    def rows(self, file: BinaryIO, line: int, at: int) -> Iterator[Row]:
        """Rows from byte `at` on, where line number `line` begins."""
        return read_rows(file, self.delimiter, line, at, self._is_row)

    def _is_row(self, line: list[str], row: list[str]) -> bool:
        """True if a line inside a field looks like a row: it has all columns and names an image."""
        if _n_columns(line, self.n_columns) != self.n_columns:
            return False
        image = line[self.image_column]
        if name_of(image).rpartition(".")[2].lower() in IMAGE_ENDINGS:
            return True
        is_url = "://" in image and not any(map(str.isspace, image))
        return is_url and "://" in "".join(row[self.image_column : self.image_column + 1])


@dataclass(frozen=True)
class TableShard:
    """Consecutive rows of a table: bytes `start_byte` to `end_byte`, beginning with line `first_line`."""

    table: Table
    start_byte: int
    end_byte: int
    first_line: int

    @property
    def location(self) -> str:
        """Path or URL of the table."""
        return self.table.url

    @property
    def prefix(self) -> str:
        """Prefix of the table."""
        return self.table.prefix

    @property
    def files(self) -> tuple[str, ...]:
        """The table."""
        return (self.table.url,)

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """One entry per row; a row that cannot be read, or without its image, is an unusable entry."""
        with open_regular(self.table.file) as file:
            file.seek(self.start_byte)
            part = io.BytesIO(file.read(self.end_byte - self.start_byte))
        rows = self.table.rows(part, self.first_line, self.start_byte)
        for row in islice(rows, start, None, step):
            yield self._entry(row, excluded, with_images=with_images)

    def _entry(self, row: Row, excluded: Set[str], *, with_images: bool) -> Entry:
        table = self.table
        name = f"{table.prefix}:{row.line}"
        if row.problem is not None:
            return Unusable(name, row.problem)
        if _n_columns(row.fields, table.n_columns) != table.n_columns:
            return Unusable(name, f"it has {len(row.fields)} columns, not {table.n_columns}")
        path = row.fields[table.image_column]
        captions = [row.fields[column] for column in table.caption_columns]
        read = image_reader(table.images_root, table.max_bytes, with_images=with_images)
        return entry_at(path, captions, read, RowLocation(table.prefix, row.line), excluded)


ReadImage = Callable[[str], bytes]


def image_reader(images_root: str, max_bytes: int, *, with_images: bool) -> ReadImage:
    """A function that reads an image at a path or URL; it raises ValueError with the reason if it cannot."""
    if not with_images:
        return lambda path: b""
    return lambda path: read_url(join(images_root, path), max_bytes)


def entry_at(
    path: str, captions: list[str], read: ReadImage, location: RowLocation, excluded: Set[str]
) -> Entry:
    """The pair of an image and its captions, named after the image's path or URL."""
    return entry_with(path, lambda: texts_of(captions, origin="tables"), read, location, excluded)


def entry_with(
    path: str, read_texts: Callable[[], Texts], read: ReadImage, location: RowLocation, excluded: Set[str]
) -> Entry:
    """The pair of an image and its texts; `read_texts` may raise ValueError."""
    name = f"{location.prefix}:{path}"
    if name in excluded:
        return excluded_entry(name)
    try:
        texts = read_texts()
        if not path:
            raise ValueError("it names no image")
        return Pair(name, read(path), texts)
    except ValueError as error:
        return Unusable(f"{location.prefix}:{location.row}{f' ({path})' if path else ''}", str(error))


def table_shards(
    url: str, prefix: str, columns: Columns, images_root: str | None, max_bytes: int
) -> list[Shard]:
    """Shards of a CSV or TSV file. DataError if its first row does not name its columns."""
    file = local_copy(url)
    delimiter = "\t" if name_of(url).lower().endswith(".tsv") else ","
    with open_regular(file) as opened:
        first = next(read_rows(opened, delimiter), None)
        if first is None:
            raise DataError(f"{url} is empty: its first row must name its columns")
        if first.problem is not None:
            raise DataError(f"{url} line {first.line}, which must name the columns: {first.problem}")
        names = first.fields
        image, captions = columns.found(names, url)
        table = Table(
            url=url,
            prefix=prefix,
            file=file,
            delimiter=delimiter,
            n_columns=len(names),
            image_column=names.index(image),
            caption_columns=tuple(names.index(caption) for caption in captions),
            images_root=folder_of(url) if images_root is None else images_root,
            max_bytes=max_bytes,
        )
        opened.seek(first.end_byte)
        rows = table.rows(opened, first.end_line, first.end_byte)
        shards: list[Shard] = []
        before = first
        while part := deque(islice(rows, ROWS_PER_SHARD), maxlen=1):
            shards.append(TableShard(table, before.end_byte, part[-1].end_byte, before.end_line))
            before = part[-1]
    return require_shards(shards, url)


def _n_columns(fields: Sequence[str], n: int) -> int:
    """Number of columns, without empty ones beyond `n`, which some programs append to rows."""
    return len(fields) if any(fields[n:]) else min(len(fields), n)


def _find_column(
    given: str | None, usual: Sequence[str], names: Sequence[str], what: str, setting: str
) -> str:
    candidates = usual if given is None else (given,)
    for candidate in candidates:
        if candidate in names:
            return candidate
    missing = f"{given!r} is not there" if given else f"none is called {', '.join(usual)}"
    if len(names) == 1 and any(sign in names[0] for sign in ";\t"):
        raise DataError(
            f"{what}: {missing}; the only column is {names[0]!r}: columns must be separated by commas in a "
            ".csv file, by tabs in a .tsv file"
        )
    raise DataError(f"{what}: {missing}; {setting} names one of: {', '.join(names)}")


def local_copy(url: str) -> Path:
    """The local table, or a downloaded copy: its parts are read in any order. DataError without one."""
    if is_local(url):
        open_url(url).close()
        return Path(url)
    digest = sha256(f"{url} {retry(url, lambda: file_tag(url))}".encode()).hexdigest()
    copy = cache_dir() / "tables" / f"{digest}{PurePosixPath(name_of(url)).suffix}"
    if not copy.exists():
        retry(url, lambda: _download(url, copy))
    return copy


def _download(url: str, copy: Path) -> None:
    with open_url(url) as source, open_atomic(copy) as target:
        while chunk := source.read(CHUNK):
            target.write(chunk)

"""CSV and TSV files of image paths and captions, cut where rows end; knows nothing of images.

A table is read through once to find where its rows are. Then any part of it can be read on its own, without
holding the table in memory.
"""

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from diptych_training.data.pairs.pair import Entry, Pair, Shard, Unusable, left_out, required, texts_of
from diptych_training.data.pairs.remote.retry import is_local, patiently
from diptych_training.data.pairs.remote.urls import folder_of, join, name_of, open_url, read_url
from diptych_training.data.pairs.sources.changes import mark_of
from diptych_training.data.pairs.sources.rows import Row, read_rows
from diptych_training.data.pairs.sources.tar_shard import IMAGE_ENDINGS
from diptych_training.errors import DataError
from diptych_training.files import open_atomic
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
class Place:
    """A row of a table: `row` is its line, or its number."""

    prefix: str
    row: int


@dataclass(frozen=True)
class Table:
    """What is the same for all parts of a table. `file` is the table itself, or a local copy of it."""

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
        """Those from byte `at` on, where `line` begins."""
        return read_rows(file, self.delimiter, line, at, self._is_row)

    def _is_row(self, line: list[str], row: list[str]) -> bool:
        """Whether a line of a text is rather a row of its own: it has all columns, and names an image."""
        if _n_columns(line, self.n_columns) != self.n_columns:
            return False
        image = line[self.image_column]
        if name_of(image).rpartition(".")[2].lower() in IMAGE_ENDINGS:
            return True
        is_url = "://" in image and not any(map(str.isspace, image))
        return is_url and "://" in "".join(row[self.image_column : self.image_column + 1])


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

    @property
    def prefix(self) -> str:
        """That of the table."""
        return self.table.prefix

    @property
    def files(self) -> tuple[str, ...]:
        """The table."""
        return (self.table.url,)

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """One entry a row. A row that cannot be read, or an image that is not there, is an unusable entry."""
        with self.table.file.open("rb") as file:
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
        return entry_at(path, captions, read, Place(table.prefix, row.line), excluded)


ReadImage = Callable[[str], bytes]


def image_reader(images_root: str, max_bytes: int, *, with_images: bool) -> ReadImage:
    """Reads what is at a path or URL. ValueError, with the reason, if it cannot."""
    if not with_images:
        return lambda path: b""
    return lambda path: read_url(join(images_root, path), max_bytes)


def entry_at(path: str, captions: list[str], read: ReadImage, place: Place, excluded: Set[str]) -> Entry:
    """The pair of an image at a path or URL, which names it, with its captions."""
    name = f"{place.prefix}:{path}"
    if name in excluded:
        return left_out(name)
    try:
        texts = texts_of(captions)
        if not path:
            raise ValueError("it names no image")
        return Pair(name, read(path), texts)
    except ValueError as error:
        return Unusable(f"{place.prefix}:{place.row}{f' ({path})' if path else ''}", str(error))


def table_shards(
    url: str, prefix: str, columns: Columns, images_root: str | None, max_bytes: int
) -> list[Shard]:
    """The parts of a CSV or TSV file whose first row names its columns. DataError where it does not."""
    file = _local(url)
    delimiter = "\t" if name_of(url).lower().endswith(".tsv") else ","
    with file.open("rb") as opened:
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
        while part := deque(islice(rows, ROWS), maxlen=1):
            shards.append(TableShard(table, before.end_byte, part[-1].end_byte, before.end_line))
            before = part[-1]
    return required(shards, url)


def _n_columns(fields: Sequence[str], n: int) -> int:
    """How many a row has; empty ones beyond `n`, as some programs end rows with, are not counted."""
    return len(fields) if any(fields[n:]) else min(len(fields), n)


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
    digest = sha256(f"{url} {patiently(url, lambda: mark_of(url))}".encode()).hexdigest()
    copy = cache_dir() / "tables" / f"{digest}{PurePosixPath(name_of(url)).suffix}"
    if not copy.exists():
        patiently(url, lambda: _copy(url, copy))
    return copy


def _copy(url: str, copy: Path) -> None:
    with open_url(url) as source, open_atomic(copy) as target:
        while chunk := source.read(CHUNK):
            target.write(chunk)

"""Read JSON Lines: one object a line, with the path or URL of an image and its texts."""

import io
import json
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from diptych_training.data.pairs.pair import (
    CAPTION_KEY,
    Entry,
    Shard,
    Texts,
    Unusable,
    require_shards,
    strings_of,
    texts_of,
    texts_of_row,
)
from diptych_training.data.pairs.remote.urls import folder_of
from diptych_training.data.pairs.sources.rows import MAX_LINE_BYTES
from diptych_training.data.pairs.sources.table import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    ROWS_PER_SHARD,
    Columns,
    RowLocation,
    entry_with,
    image_reader,
    local_copy,
)
from diptych_training.files import open_regular


@dataclass(frozen=True)
class JsonLinesShard:
    """Consecutive lines of a file: bytes `start_byte` to `end_byte`, beginning with line `first_line`.

    `file` is the file itself, or a local copy of the one at `url`.
    """

    url: str
    prefix: str
    file: Path
    columns: Columns
    images_root: str
    max_bytes: int
    start_byte: int
    end_byte: int
    first_line: int

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
        """One entry per line that is not blank."""
        with open_regular(self.file) as opened:
            opened.seek(self.start_byte)
            part = io.BytesIO(opened.read(self.end_byte - self.start_byte))
        rows = ((line, raw) for line, raw in _lines(part, self.first_line) if raw.strip())
        for line, raw in islice(rows, start, None, step):
            yield self._entry(line, raw, excluded, with_images=with_images)

    def _entry(self, line: int, raw: bytes, excluded: Set[str], *, with_images: bool) -> Entry:
        try:
            row = json.loads(raw.decode("utf-8-sig"))
            image = _image(row, self.columns.image)
        except (ValueError, RecursionError) as error:
            return Unusable(f"{self.prefix}:{line}", f"it cannot be read: {error}")
        read = image_reader(self.images_root, self.max_bytes, with_images=with_images)
        location = RowLocation(self.prefix, line)
        return entry_with(image, partial(_texts, row, self.columns), read, location, excluded)


def json_lines_shards(
    url: str, prefix: str, columns: Columns, images_root: str | None, max_bytes: int
) -> list[Shard]:
    """Shards of a file of JSON Lines. DataError if it is empty or cannot be read."""
    file = local_copy(url)
    root = folder_of(url) if images_root is None else images_root
    shards: list[Shard] = []
    with open_regular(file) as opened:
        lines = _lines(opened, 1)
        start = 0
        while part := list(islice(lines, ROWS_PER_SHARD)):
            end = start + sum(len(raw) for _, raw in part)
            if any(raw.strip() for _, raw in part):
                shards.append(
                    JsonLinesShard(url, prefix, file, columns, root, max_bytes, start, end, part[0][0])
                )
            start = end
    return require_shards(shards, url)


def _lines(file: Any, first: int) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; one of more than MAX_LINE_BYTES counts as several pieces of one number."""
    number = first
    while raw := file.readline(MAX_LINE_BYTES):
        yield number, raw
        number += raw.endswith(b"\n")


def _image(row: object, column: str | None) -> str:
    if not isinstance(row, dict):
        raise ValueError(f"not an object but {row!r:.40}")
    keys = IMAGE_COLUMNS if column is None else (column,)
    found = next((row[key] for key in keys if key in row), None)
    if not isinstance(found, str):
        stated = f"{found!r:.40} is no path or URL" if found is not None else "an image is missing"
        raise ValueError(f"{stated}: one of {', '.join(keys)} names it")
    return found


def _texts(row: dict[str, Any], columns: Columns) -> Texts:
    """The texts of the columns that are asked for, or as in a JSON file next to an image."""
    if columns.captions:
        texts = chain.from_iterable(strings_of(row, column) for column in columns.captions)
        return texts_of(texts, origin="JSON Lines")
    key = next((column for column in CAPTION_COLUMNS if column in row), CAPTION_KEY)
    found = texts_of_row(row, key, "JSON Lines")
    if found is None:
        raise ValueError("its caption is empty or missing")
    return found

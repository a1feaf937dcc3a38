"""Cut CSV and TSV files into rows, and say what is wrong with a row; knows nothing of what rows mean.

Where a row cannot be read, only its first line is given up: an open quotation mark would take what follows
with it, up to the next one. From the end of any row, the rest is cut as if it had been read from the start.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_LINE_BYTES = 1_000_000  # a longer line is taken for several
LEFT_OPEN = f"a quotation mark is left open, or a field has more than {csv.field_size_limit():,} characters"
NOT_CLOSED = "a quotation mark is left open, or text follows the one that ends a field of several lines"
SWALLOWS = "a quotation mark is left open: a line before the next one is a row of its own"
MARK = b"\xef\xbb\xbf"  # that some programs begin a file with


@dataclass(frozen=True)
class Row:
    """A row that is not empty: its fields, or none and what is wrong with it."""

    fields: list[str]
    problem: str | None
    line: int  # number of its first line
    end_line: int  # that of the line after it
    end_byte: int


# Of (line, row): whether the fields of a line within a quoted field of a row would be a row of their own.
IsRow = Callable[[list[str], list[str]], bool]


def read_rows(
    file: BinaryIO, delimiter: str, line: int = 1, at: int = 0, is_row: IsRow = lambda one, row: False
) -> Iterator[Row]:
    """The rows from byte `at` of a file on, where `line` begins."""
    lines = _Lines(file, at)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        fields, problem = _next(reader, lines)
        if problem is None and lines.n_taken > 1:
            problem = _left_open(lines.texts(), fields, delimiter, is_row)
            if problem is not None:
                lines.take_back()
        raw = lines.taken()
        if not raw:
            return
        end_line, at = line + raw.count(b"\n"), at + len(raw)
        problem = _wrong_bytes(raw) or problem
        if problem is not None:
            yield Row([], problem, line, end_line, at)
        elif fields:
            yield Row(fields, None, line, end_line, at)
        line = end_line


class _Lines:
    """The lines of a file for `csv`, from which lines can be taken back."""

    def __init__(self, file: BinaryIO, at: int) -> None:
        self._file = file
        self._is_first = at == 0
        self._back: deque[bytes] = deque()
        self._taken: list[bytes] = []  # for the row that is being read
        self.is_at_end = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._back.popleft() if self._back else self._file.readline(MAX_LINE_BYTES)
        if not raw:
            self.is_at_end = True
            raise StopIteration
        self._taken.append(raw)
        if self._is_first:
            self._is_first = False
            raw = raw.removeprefix(MARK)
        return raw.decode("utf-8", "surrogateescape")

    @property
    def n_taken(self) -> int:
        """Lines of the last row."""
        return len(self._taken)

    def texts(self) -> list[str]:
        """The lines of the last row."""
        return [raw.decode("utf-8", "surrogateescape") for raw in self._taken]

    def taken(self) -> bytes:
        """What the last row was made of."""
        raw = b"".join(self._taken)
        self._taken = []
        return raw

    def take_back(self) -> None:
        """All lines but the first of the last row are to be read again."""
        self._back.extendleft(reversed(self._taken[1:]))
        self._taken = self._taken[:1]
        self.is_at_end = False


def _next(reader: "Iterator[list[str]]", lines: _Lines) -> tuple[list[str], str | None]:
    try:
        fields = next(reader, [])
    except csv.Error as error:
        lines.take_back()
        return [], LEFT_OPEN if "field limit" in str(error) else str(error)
    if fields and lines.is_at_end:  # otherwise the end comes before the next row begins
        lines.take_back()
        return [], LEFT_OPEN
    return fields, None


def _left_open(lines: list[str], fields: list[str], delimiter: str, is_row: IsRow) -> str | None:
    """Why a row of several lines cannot be one. The mark that ends an open field is one that was to begin
    another field, so that this one's text follows it; or one that ends a text, with whole rows before it."""
    try:
        next(csv.reader(lines, delimiter=delimiter, strict=True), None)
    except csv.Error:
        return NOT_CLOSED
    inner = (line for field in fields if "\n" in field for line in field.split("\n"))
    return SWALLOWS if any(is_row(_cut(line, delimiter), fields) for line in inner) else None


def _cut(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _wrong_bytes(raw: bytes) -> str | None:
    if b"\0" in raw:
        return "it holds a NUL byte"
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "it is not UTF-8"
    return None

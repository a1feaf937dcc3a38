"""Split CSV and TSV files into rows, and report invalid rows.

If a row cannot be read, only its first line is skipped: an unclosed quotation mark would otherwise swallow
everything up to the next one. Reading from the end of any row gives the same rows as reading from the start.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_LINE_BYTES = 1_000_000  # a longer line is treated as several
OPEN_QUOTE = f"a quotation mark is left open, or a field has more than {csv.field_size_limit():,} characters"
OPEN_QUOTE_OVER_LINES = (
    "a quotation mark is left open, or text follows the one that ends a field of several lines"
)
OPEN_QUOTE_OVER_ROWS = "a quotation mark is left open: a line before the next one is a row of its own"
BOM = b"\xef\xbb\xbf"  # some programs begin a file with it


@dataclass(frozen=True)
class Row:
    """A row that is not empty: its fields, or no fields and the problem."""

    fields: list[str]
    problem: str | None
    line: int  # number of its first line
    end_line: int  # number of the line after it
    end_byte: int


# (line, row) -> True if the fields of a line inside a quoted field of `row` would be a row of their own.
IsRow = Callable[[list[str], list[str]], bool]


def read_rows(
    file: BinaryIO, delimiter: str, line: int = 1, at: int = 0, is_row: IsRow = lambda one, row: False
) -> Iterator[Row]:
    """Read rows from byte `at` of a file, where line number `line` begins."""
    lines = _Lines(file, at)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        fields, problem = _next(reader, lines)
        if problem is None and lines.n_taken > 1:
            problem = _unclosed_quote(lines.texts(), fields, delimiter, is_row)
            if problem is not None:
                lines.push_back()
        raw = lines.taken()
        if not raw:
            return
        end_line, at = line + raw.count(b"\n"), at + len(raw)
        problem = _byte_problem(raw) or problem
        if problem is not None:
            yield Row([], problem, line, end_line, at)
        elif fields:
            yield Row(fields, None, line, end_line, at)
        line = end_line


class _Lines:
    """The lines of a file for `csv.reader`, with push-back."""

    def __init__(self, file: BinaryIO, at: int) -> None:
        self._file = file
        self._is_first = at == 0
        self._pushed_back: deque[bytes] = deque()
        self._taken: list[bytes] = []  # for the row that is being read
        self.is_at_end = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._pushed_back.popleft() if self._pushed_back else self._file.readline(MAX_LINE_BYTES)
        if not raw:
            self.is_at_end = True
            raise StopIteration
        self._taken.append(raw)
        if self._is_first:
            self._is_first = False
            raw = raw.removeprefix(BOM)
        return raw.decode("utf-8", "surrogateescape")

    @property
    def n_taken(self) -> int:
        """Number of lines in the last row."""
        return len(self._taken)

    def texts(self) -> list[str]:
        """The lines of the last row."""
        return [raw.decode("utf-8", "surrogateescape") for raw in self._taken]

    def taken(self) -> bytes:
        """The bytes of the last row; resets it."""
        raw = b"".join(self._taken)
        self._taken = []
        return raw

    def push_back(self) -> None:
        """Push back all lines of the last row except its first, to be read again."""
        self._pushed_back.extendleft(reversed(self._taken[1:]))
        self._taken = self._taken[:1]
        self.is_at_end = False


def _next(reader: "Iterator[list[str]]", lines: _Lines) -> tuple[list[str], str | None]:
    try:
        fields = next(reader, [])
    except csv.Error as error:
        lines.push_back()
        return [], OPEN_QUOTE if "field limit" in str(error) else str(error)
    if fields and lines.is_at_end:  # a complete row ends before the file's end is read
        lines.push_back()
        return [], OPEN_QUOTE
    return fields, None


def _unclosed_quote(lines: list[str], fields: list[str], delimiter: str, is_row: IsRow) -> str | None:
    """The problem if a row of several lines results from an unclosed quotation mark; else None.

    The mark that ends the open field was meant to begin another field, so that text follows it; or it ends a
    field later in the file, with whole rows in between.
    """
    try:
        next(csv.reader(lines, delimiter=delimiter, strict=True), None)
    except csv.Error:
        return OPEN_QUOTE_OVER_LINES
    inner = (line for field in fields if "\n" in field for line in field.split("\n"))
    return OPEN_QUOTE_OVER_ROWS if any(is_row(_fields(line, delimiter), fields) for line in inner) else None


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _byte_problem(raw: bytes) -> str | None:
    if b"\0" in raw:
        return "it holds a NUL byte"
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "it is not UTF-8"
    return None

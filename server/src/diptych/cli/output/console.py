"""Print lines, tables, bars and JSON.

Texts come from files and servers. Control characters in them are replaced, so that a file name or a label
cannot control the terminal.
"""

import io
import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from typing import Literal

Align = Literal["left", "right"]

BAR_WIDTH = 24
MAX_CELL_CHARS = 80


def out(line: str = "") -> None:
    """Print one line of a result to stdout."""
    sys.stdout.write(printable(line) + "\n")


def err(line: str) -> None:
    """Print one line about a problem to stderr."""
    sys.stdout.flush()
    sys.stderr.write(printable(line) + "\n")


def out_json(value: object) -> None:
    """Print a result for machines: one JSON document on one line, unprintable characters as escapes."""
    text = json.dumps(value, ensure_ascii=sys.stdout.encoding.lower() != "utf-8")
    sys.stdout.write("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n")


def printable(text: str) -> str:
    """Replace every control character of `text`, line breaks included, by U+FFFD."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def cell(text: str) -> str:
    """Make `text` printable and cut it to MAX_CELL_CHARS."""
    line = printable(text)
    return line if len(line) <= MAX_CELL_CHARS else line[: MAX_CELL_CHARS - 1] + "…"


def bar(share: float) -> str:
    """Draw `share`, in [0, 1], as a bar of BAR_WIDTH columns."""
    n_full = round(min(max(share, 0.0), 1.0) * BAR_WIDTH)
    return "█" * n_full + "·" * (BAR_WIDTH - n_full)


def out_table(header: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[Align]) -> None:
    """Print a table whose columns are as wide as their widest cell."""
    cells = [[cell(text) for text in row] for row in [header, *rows]]
    widths = [max(display_width(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        padded = [pad(text, width, side) for text, width, side in zip(row, widths, align, strict=True)]
        out("  ".join(padded).rstrip())


def format_bytes(n_bytes: int) -> str:
    """Format a number of bytes in the largest unit that leaves at least 1: 0 B, 999 B, 1.2 kB, 34 MB."""
    value, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if unit != "B" and value < 9.95 else f"{value:.0f} {unit}"


def display_width(text: str) -> int:
    """Return how many terminal columns `text` takes: wide characters take two, combining ones none."""
    wide = sum(unicodedata.east_asian_width(c) in {"W", "F"} for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def pad(text: str, width: int, align: Align) -> str:
    """Pad `text` with spaces to `width` columns."""
    space = " " * (width - display_width(text))
    return space + text if align == "right" else text + space


def replace_unencodable() -> None:
    """Print characters that the terminal's encoding lacks, such as bars, as question marks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def discard_output() -> None:
    """Discard all further output: its reader has gone, and Python flushes once more at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())

"""Lines, tables and bars on a terminal; knows nothing of what they show.

What is shown came from files and servers: control characters are replaced, so that a file name or a label
cannot command the terminal.
"""

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import Literal

Align = Literal["left", "right"]

BAR_WIDTH = 24
MAX_CELL_CHARS = 80


def out(line: str = "") -> None:
    """One line of result."""
    sys.stdout.write(printable(line) + "\n")


def err(line: str) -> None:
    """One line of trouble."""
    sys.stdout.flush()
    sys.stderr.write(printable(line) + "\n")


def out_json(value: object) -> None:
    """A result for machines: one JSON document on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def printable(text: str) -> str:
    """`text` with every control character, line breaks too, as U+FFFD."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def bar(share: float) -> str:
    """`share` in [0, 1] as a bar of BAR_WIDTH columns."""
    n_full = round(min(max(share, 0.0), 1.0) * BAR_WIDTH)
    return "█" * n_full + "·" * (BAR_WIDTH - n_full)


def out_table(header: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[Align]) -> None:
    """A table whose columns are as wide as their widest cell."""
    cells = [[_cut(printable(cell)) for cell in row] for row in [header, *rows]]
    widths = [max(columns(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        padded = [_pad(cell, width, side) for cell, width, side in zip(row, widths, align, strict=True)]
        out("  ".join(padded).rstrip())


def columns(text: str) -> int:
    """How many columns a terminal gives to `text`: wide characters take two, combining ones none."""
    wide = sum(unicodedata.east_asian_width(c) in {"W", "F"} for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def _cut(cell: str) -> str:
    return cell if len(cell) <= MAX_CELL_CHARS else cell[: MAX_CELL_CHARS - 1] + "…"


def _pad(cell: str, width: int, align: Align) -> str:
    space = " " * (width - columns(cell))
    return space + cell if align == "right" else cell + space

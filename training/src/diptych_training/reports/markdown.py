"""The writer of Markdown, which also reads well in a terminal."""

import re
from collections.abc import Iterable, Sequence

from diptych_training.reports.text import LONGEST, one_line

_SYNTAX = re.compile(r"([\\`*_\[\]<>|#~])")
_BARE_BAR = re.compile(r"(?<!\\)\|")


def markdown_document(parts: Iterable[str]) -> str:
    """Paragraphs, headings and tables with an empty line between them; empty ones are left out."""
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_list(lines: Iterable[str]) -> str:
    """A list with an item for each line."""
    return "\n".join(f"- {line}" for line in lines)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], n_words: int = 1) -> str:
    """A table with padded columns: the first `n_words` are left-aligned, the others right-aligned."""
    lines = [[_BARE_BAR.sub(r"\\|", cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < n_words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rules = ["-" * (w + 2) if column < n_words else "-" * (w + 1) + ":" for column, w in enumerate(widths)]
    return "\n".join([line(lines[0]), f"|{'|'.join(rules)}|", *map(line, lines[1:])])


def markdown_text(text: str, longest: int = LONGEST) -> str:
    """The text on one line, with characters that Markdown would read escaped."""
    return _SYNTAX.sub(r"\\\1", one_line(text, longest))

"""Markdown that also reads well in a terminal."""

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], n_words: int = 1) -> str:
    """A table with padded columns: the first `n_words` are left-aligned, the others right-aligned."""
    lines = [header, *rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < n_words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rules = ["-" * (w + 2) if column < n_words else "-" * (w + 1) + ":" for column, w in enumerate(widths)]
    return "\n".join([line(header), f"|{'|'.join(rules)}|", *map(line, lines[1:])])

"""Every figure of the page on scaling is the one that docs/benchmarks.md has now, where the page says."""

import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEASURED = "\n".join(
    re.findall(  # what the benchmarks write by themselves
        r"<!-- (?:bench|bench-store|soak):begin -->\n(.*?)<!-- ",
        (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
)
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
NUMBER = r"\d[\d,]*(?:\.\d+)?"
# `| what | 28.6 images/s | table › row › column |`, `| what | 712 MB: table › row › column |`, or in place of
# those three, for a sentence, how it begins › what follows the number.
FIGURES: list[tuple[str, str, str]] = re.findall(
    rf"^\| ([^|]+) \| ({NUMBER}) [\w/]+(?: \||:) ([^|]+?) \|", PAGE, flags=re.MULTILINE
)


def tables(text: str) -> list[dict[str, dict[str, str]]]:
    """Each as row -> column -> cell; a row, a column and the table are called by their first cell."""
    found: list[dict[str, dict[str, str]]] = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        head, _, *rows = [cells(line) for line in block.splitlines()]
        found.append({row[0]: dict(zip(head, row, strict=True)) for row in rows})
    return found


def cells(line: str) -> list[str]:
    """Of `| a | b |`; a bar within a cell has a backslash before it."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


TABLES = tables(MEASURED)


def measured(place: str) -> str:
    """The first number of the cell, or the number of the sentence."""
    head, *within = place.split(" › ")
    if len(within) == 1:
        sentence = rf"^{re.escape(head)}[^|\n]*?({NUMBER}) {re.escape(within[0])}"
        found = set(re.findall(sentence, MEASURED, flags=re.MULTILINE))
    else:
        row, column = within
        rows = [table[row] for table in TABLES if row in table and next(iter(table[row])) == head]
        found = {one[column] for one in rows if column in one}
    assert len(found) == 1, f"docs/benchmarks.md has {len(found)} figures at {place!r}"
    number = re.match(NUMBER, found.pop())
    assert number is not None, f"no number at {place!r}"
    return number[0]


@pytest.mark.parametrize(("what", "number", "place"), FIGURES, ids=[place for _, _, place in FIGURES])
def test_figure_is_the_one_that_was_measured_last(what: str, number: str, place: str) -> None:
    now = measured(place)
    assert number == now, (
        f"docs/scaling.md, {what!r}: {number} is stale, docs/benchmarks.md has {now} ({place})"
    )


def test_no_figure_of_a_table_is_without_its_place() -> None:
    with_number = re.findall(r"^\| [^|]+ \| (\d[^|]*) \|", PAGE, flags=re.MULTILINE)
    with_number = [one for one in with_number if not one.startswith("4 bytes a number")]  # of float32
    assert len(FIGURES) == len(with_number) >= 15
    assert len({place for _, _, place in FIGURES}) == len(FIGURES)


def test_replicas_that_a_rate_takes_are_computed_from_the_figure() -> None:
    ((rate, n_replicas),) = re.findall(r"So (\d+) photographs a second [^.]* need (\d+)\s+replicas", PAGE)
    one = float(measured("images/s by clients › diptych int8 exact › 32"))
    assert int(n_replicas) == math.ceil(int(rate) / one), f"one does {one} images/s"

"""Files of labels: definitions of label sets, and labels of images as other programs have them."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.cli.text_reader import read_lines, read_text
from diptych.errors import InvalidValue
from diptych.wiring.data_folders import read_label_parquet
from diptych_client import Label

PARQUET = ".parquet"
MAX_LINE_CHARS = 1_000_000  # of JSON
MAX_SHOWN_CHARS = 80  # of a value in an error


@dataclass
class GivenLabels:
    """The labels of images by id. `n_of_model`: rows of an export that a model made, which are left out."""

    labels: dict[str, list[str]] = field(default_factory=dict)
    n_of_model: int = 0

    def add(self, id: str, labels: Iterable[str], by: object) -> None:
        """Add a row. Several rows of an id are labels of one image."""
        if by == "model":
            self.n_of_model += 1
            return
        found = self.labels.setdefault(id, [])
        found += [label for label in labels if label not in found]


def label_of(text: str) -> Label:
    """A label, with further words for the same thing behind `|`."""
    label, *words = (part.strip() for part in text.split("|"))
    return Label(label, tuple(words))


def read_labels(file: Path) -> list[Label]:
    """Read a definition: a label a line. Raises InvalidValue naming the file."""
    return [label_of(line) for line in read_lines(file) if line.strip()]


def read_given_labels(file: Path) -> GivenLabels:
    """Read the labels of images: CSV with the columns `id` and `label`, JSON Lines with these keys, Parquet.

    The last two may have a list `labels` in place of a `label`; null, an empty text or list is none. Raises
    InvalidValue naming file, line and value; ConfigError if Parquet cannot be read here.
    """
    found = GivenLabels()
    if file.suffix.lower() == PARQUET:
        for number, row in enumerate(read_label_parquet(file), 1):
            _add(found, row, f"{file}, row {number}")
        return found
    text = read_text(file)
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        raise InvalidValue("has a NUL character: it must be text in UTF-8", f"{file}:{line}")
    rows = _json_rows if text.lstrip().startswith("{") else _csv_rows
    for number, row in rows(text, file):
        _add(found, row, f"{file}:{number}")
    return found


def _json_rows(text: str, file: Path) -> Iterator[tuple[int, Any]]:
    """The objects of JSON Lines, each with the number of its line."""
    for number, line in enumerate(io.StringIO(text, newline=None), 1):  # no line ends within a text
        where = f"{file}:{number}"
        if len(line) > MAX_LINE_CHARS:
            raise InvalidValue(f"has {len(line):,} characters, the limit is {MAX_LINE_CHARS:,}", where)
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
            raise InvalidValue(f"{_cut(line.strip())} is not JSON: {reason}", where) from None


def _csv_rows(text: str, file: Path) -> Iterator[tuple[int, Any]]:
    """The rows of CSV by the names of the first one, each with the number of the line where it begins."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header, line = list[str](), 1
    try:
        for row in rows:
            where, number, line = f"{file}:{line}", line, rows.line_num + 1
            if not header:
                header = _checked_header(row, file)
            elif row and len(row) != len(header):
                counts = f"{len(row)} cells, the first line has {len(header)}"
                raise InvalidValue(f"{_cut(','.join(row))} has {counts}: put quotes around commas", where)
            elif row:
                yield number, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise InvalidValue(f"is not CSV: {error}; the row begins there", f"{file}:{line}") from None
    if not header:
        _checked_header([], file)


def _checked_header(names: list[str], file: Path) -> list[str]:
    if not {"id", "label"} <= set(names):
        raise InvalidValue(
            f"needs the columns id and label in its first line, or a JSON object a line: it has "
            f"{_cut(','.join(names))}",
            str(file),
        )
    return names


def _add(found: GivenLabels, row: Any, where: str) -> None:
    """Add a row with an `id`, and a `label` or `labels`. Raises InvalidValue naming it."""
    if (
        not isinstance(row, dict)
        or not isinstance(row.get("id"), str)
        or not row["id"]
        or not {"label", "labels"} & row.keys()
    ):
        raise InvalidValue(f'{_cut(row)} must have an "id", and "label" or "labels"', where)
    label = row.get("label")
    labels = row.get("labels", [] if label is None or label == "" else [label])
    labels = [] if labels is None else labels
    if not isinstance(labels, list) or not all(isinstance(one, str) for one in labels):
        raise InvalidValue(f"{_cut(labels)}: a label must be a text", where)
    found.add(row["id"], labels, row.get("by"))


def _cut(value: object) -> str:
    """The beginning of a value, as it is written."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"

"""Files of labels: definitions of label sets, and labels of images as other programs have them."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.cli.text_reader import read_lines, read_text
from diptych.errors import InvalidValue
from diptych.wiring.data_folders import read_label_parquet
from diptych_client import Label, LabelSet

PARQUET = ".parquet"
MAX_LINE_CHARS = 1_000_000  # of JSON
MAX_SHOWN_CHARS = 80  # of a value in an error
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass
class GivenLabels:
    """The labels of images, each with the place in the file that has it, by id. Several rows may have an id.

    `drawn`: images that were drawn at random. `sha256s`: of the bytes that were judged, by id, where the file
    says it. `n_of_model`: rows of an export that a model made, which are left out. `first_places`: the first
    row of each id.
    """

    places: dict[str, dict[str, str]] = field(default_factory=dict)
    drawn: set[str] = field(default_factory=set)
    sha256s: dict[str, str] = field(default_factory=dict)
    n_of_model: int = 0
    first_places: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, list[str]]:
        """The labels of images by id."""
        return {id: list(places) for id, places in self.places.items()}

    def standing_in(self, export: bytes) -> set[str]:
        """The ids of images whose labels are a person's word already, by JSON Lines of an export."""
        found = set[str]()
        for line in filter(None, export.split(b"\n")):
            row = json.loads(line)
            id = row["id"]
            if row["by"] == "person" and id in self.places and set(self.places[id]) == set(row["labels"]):
                found |= {id} if self.sha256s.get(id, row["sha256"]) == row["sha256"] else set()
        return found

    def check(self, label_set: LabelSet) -> None:
        """Raise InvalidValue naming the first place with a label that the set does not allow."""
        allowed = {one.label for one in label_set.labels}
        for id, places in self.places.items():
            first = next(iter(places.items()), None)
            for label, where in places.items():
                if label not in allowed:
                    what = f"has no label {_cut(label)}, which image {_cut(id)} has"
                elif first and label != first[0] and label_set.kind == "one":
                    before = f"{_cut(first[0])} in {_line_of(first[1])}"
                    what = f"gives an image one label, and image {_cut(id)} has {_cut(label)}, and {before}"
                else:
                    continue
                raise InvalidValue(f"label set {label_set.name!r} {what}: nothing was stored", where)


def label_of(text: str) -> Label:
    """A label, with further words for the same thing behind `|`."""
    label, *words = (part.strip() for part in text.split("|"))
    return Label(label, tuple(words))


def read_labels(file: Path) -> list[Label]:
    """Read a definition: a label a line. Raises InvalidValue naming the file."""
    return [label_of(line) for line in read_lines(file) if line.strip()]


def read_given_labels(file: Path) -> GivenLabels:
    """Read the labels of images: CSV with the columns `id` and `label`, JSON Lines with these keys, Parquet.

    The last two may have a list `labels` in place of a `label`; null, an empty text or list is none. `drawn`
    and `sha256` may be there. Raises InvalidValue naming file, line and value; ConfigError if Parquet cannot
    be read here.
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
    if {"label", "labels"} <= row.keys():
        raise InvalidValue(f'{_cut(row)} has both "label" and "labels": leave one out', where)
    if not row["id"].isprintable() and any("\ud800" <= char <= "\udfff" for char in row["id"]):
        raise InvalidValue(f"{_cut(row['id'])} has a lone surrogate, which is not a character", where)
    label = row.get("label")
    labels = row.get("labels", [] if label is None or label == "" else [label])
    labels = [] if labels is None else labels
    if not isinstance(labels, list) or not all(isinstance(one, str) for one in labels):
        raise InvalidValue(f"{_cut(labels)}: a label must be a text", where)
    drawn, sha256 = _checked_drawn(row.get("drawn"), where), _checked_sha256(row.get("sha256"), where)
    if row.get("by") == "model":
        found.n_of_model += 1
        return
    id = row["id"]
    places = found.places.setdefault(id, {})
    earlier = found.first_places.setdefault(id, where)
    if earlier != where and bool(labels) != bool(places):
        told = (
            "none of the labels here, and a label" if not labels else "a label here, and none of the labels"
        )
        raise InvalidValue(f"image {_cut(id)} has {told} in {_line_of(earlier)}: leave one out", where)
    for one in labels:
        places.setdefault(one, where)
    if drawn:
        found.drawn.add(id)
    if sha256 and found.sha256s.setdefault(id, sha256) != sha256:
        raise InvalidValue(f"sha256: image {_cut(id)} has another one in a row before", where)


def _checked_drawn(value: object, where: str) -> bool:
    if isinstance(value, bool):
        return value
    text = "" if value is None else value.lower() if isinstance(value, str) else "a number, list or object"
    if text not in ("", "false", "true"):
        raise InvalidValue(f"drawn: {_cut(value)} must be true or false", where)
    return text == "true"


def _checked_sha256(value: object, where: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _SHA256.fullmatch(value.lower()):
        raise InvalidValue(f"sha256: {_cut(value)} must be 64 hexadecimal digits", where)
    return value.lower()


def _line_of(place: str) -> str:
    """The last part of a place: `line 3` or `row 3`."""
    number = place.rpartition(":")[2]
    return f"line {number}" if number.isdecimal() else place.rpartition(", ")[2]


def _cut(value: object) -> str:
    """The beginning of a value, as it is written."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"

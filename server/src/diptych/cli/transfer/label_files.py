"""Files of labels: definitions of label sets, and labels of images as other programs have them."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.cli.text_reader import read_lines
from diptych.errors import InvalidValue
from diptych_client import Label


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
    """Read the labels of images: CSV with the columns `id` and `label`, or JSON Lines with these keys.

    A line of JSON may have a list `labels` in place of a `label`; null, an empty text or list is none. Raises
    InvalidValue naming file and line.
    """
    lines, found = read_lines(file), GivenLabels()
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith("{"):
        for number, line in enumerate(lines, 1):
            if line.strip():
                _add_json(found, line, f"{file}:{number}")
        return found
    rows = csv.DictReader(lines)
    if not {"id", "label"} <= set(rows.fieldnames or ()):
        raise InvalidValue(
            "needs the columns id and label in its first line, or a JSON object a line", str(file)
        )
    for row in rows:
        id, label = row["id"], row["label"]
        if not id or label is None:
            raise InvalidValue("has no id or no label", f"{file}:{rows.line_num}")
        found.add(id, [label] if label else [], row.get("by"))
    return found


def _add_json(found: GivenLabels, line: str, where: str) -> None:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise InvalidValue(f"is not JSON: {error}", where) from None
    if (
        not isinstance(row, dict)
        or not isinstance(row.get("id"), str)
        or not {"label", "labels"} & row.keys()
    ):
        raise InvalidValue('must be an object with "id", and "label" or "labels"', where)
    label = row.get("label")
    labels = row.get("labels", [] if label is None or label == "" else [label])
    if not isinstance(labels, list) or not all(isinstance(one, str) for one in labels):
        raise InvalidValue("a label must be a text", where)
    found.add(row["id"], labels, row.get("by"))

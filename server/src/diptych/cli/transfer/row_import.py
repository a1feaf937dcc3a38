"""Send the rows of an exported file to a server."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from diptych.core.backup import Report
from diptych.core.collections.metadata.checks import to_json
from diptych.core.transfer import Heading, LostRow, Row
from diptych_client import AddOutcome, AddStatus, Client, ModelRef

NOT_AN_OBJECT = "its metadata is not a JSON object"


class ExportedRows(Protocol):
    """The rows of an exported file."""

    n_rows: int
    heading: Heading

    def batches(self) -> Iterable[Sequence[Row | LostRow]]:
        """All rows, in batches."""
        ...


class RowImport:
    """Adds a file to a collection. `counts` has the outcomes by status, `failures` the reasons by id, and
    `n_metadata_differs` counts the rows that are there with other metadata.
    """

    def __init__(self, client: Client, exported: ExportedRows, collection: str, *, replace: bool) -> None:
        self._client = client
        self._exported = exported
        self._options: dict[str, Any] = {"collection": collection, "replace": replace}
        self.counts: Counter[AddStatus] = Counter()
        self.failures: dict[str, str] = {}
        self.n_metadata_differs = 0

    def run(self, report: Report) -> None:
        """Add all rows. Raises errors that concern every row, such as vectors of another version."""
        report.begin("importing", self._exported.n_rows)
        for rows in self._exported.batches():
            self._add(rows)
            report.advance(len(rows))

    def _add(self, rows: Sequence[Row | LostRow]) -> None:
        good: list[Row] = []
        for row in rows:
            if isinstance(row, LostRow):
                self._fail(row.name, row.reason)
            elif reason := _reason_to_skip(row):
                self._fail(row.id, reason)
            else:
                good.append(row)
        images = [row for row in good if row.image is not None]
        vectors = [row for row in good if row.image is None]
        self._count(images, self._add_images(images))
        self._count(vectors, self._add_vectors(vectors))

    def _add_images(self, rows: Sequence[Row]) -> Sequence[AddOutcome]:
        if not rows:
            return ()
        return self._client.add([row.image for row in rows if row.image is not None], **self._arguments(rows))

    def _add_vectors(self, rows: Sequence[Row]) -> Sequence[AddOutcome]:
        if not rows:
            return ()
        heading = self._exported.heading
        return self._client.add_vectors(
            [row.embedding for row in rows if row.embedding is not None],
            model=ModelRef(**vars(heading.maker)),
            identity=heading.identity,
            **self._arguments(rows),
        )

    def _arguments(self, rows: Sequence[Row]) -> dict[str, Any]:
        metadata = [json.loads(row.metadata) for row in rows]
        return {"ids": [row.id for row in rows], "metadata": metadata, **self._options}

    def _count(self, rows: Sequence[Row], outcomes: Sequence[AddOutcome]) -> None:
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome.status == "failed":
                self._fail(row.id, str(outcome.error))
            else:
                self.counts[outcome.status] += 1
                self.n_metadata_differs += outcome.metadata_differs

    def _fail(self, name: str, reason: str) -> None:
        self.counts["failed"] += 1
        self.failures[name] = reason


def _reason_to_skip(row: Row) -> str:
    """Return why the row cannot be sent; empty if it can."""
    if reason := _metadata_problem(row.metadata):
        return reason
    if row.image is None:
        return "has neither an image nor a vector" if row.embedding is None else ""
    if row.sha256 and hashlib.sha256(row.image).hexdigest() != row.sha256.lower():
        return "its image does not match its sha256: the file is damaged there"
    return ""


def _metadata_problem(text: str) -> str:
    try:
        metadata = json.loads(text)
    except json.JSONDecodeError:
        return NOT_AN_OBJECT
    except RecursionError:
        return "its metadata is nested too deeply"
    except ValueError:  # the only other error of Python's parser
        return f"its metadata has an integer of more than {sys.get_int_max_str_digits():,} digits"
    if not isinstance(metadata, dict):
        return NOT_AN_OBJECT
    try:
        to_json(metadata)
    except ValueError:
        return "its metadata has a number that JSON does not have: infinity or NaN"
    return ""

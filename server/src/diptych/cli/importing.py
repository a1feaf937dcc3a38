"""Send the rows of an exported file to a server; knows no command line."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from diptych.adapters.parquet_file import ParquetReader
from diptych.core.backup import Report
from diptych.core.exchange import Row
from diptych_client import AddOutcome, AddStatus, Client, ModelRef


class Importer:
    """One file into one collection. `counts` are of outcomes by status, `failures` their reasons by id."""

    def __init__(
        self, client: Client, reader: ParquetReader, collection: str, *, replace: bool, vectors_only: bool
    ) -> None:
        self._client = client
        self._reader = reader
        self._same: dict[str, Any] = {"collection": collection, "replace": replace}
        self._vectors_only = vectors_only
        self.counts: Counter[AddStatus] = Counter()
        self.failures: dict[str, str] = {}

    def run(self, report: Report) -> None:
        """All rows, some at a time. Raises what concerns every row, such as vectors of another version."""
        report.begin("importing", self._reader.n_rows)
        for rows in self._reader.batches():
            self._add(rows)
            report.advance(len(rows))

    def _add(self, rows: Sequence[Row]) -> None:
        images = [row for row in rows if self._is_image(row)]
        vectors = [row for row in rows if not self._is_image(row) and row.embedding is not None]
        bare = [row for row in rows if not self._is_image(row) and row.embedding is None]
        self._count(images, self._add_images(images))
        self._count(vectors, self._add_vectors(vectors))
        for row in bare:
            self._fail(row, "has neither an image nor a vector")

    def _is_image(self, row: Row) -> bool:
        return row.image is not None and not self._vectors_only

    def _add_images(self, rows: Sequence[Row]) -> Sequence[AddOutcome]:
        if not rows:
            return ()
        return self._client.add([row.image for row in rows if row.image is not None], **self._named(rows))

    def _add_vectors(self, rows: Sequence[Row]) -> Sequence[AddOutcome]:
        if not rows:
            return ()
        heading = self._reader.heading
        return self._client.add_vectors(
            [row.embedding for row in rows if row.embedding is not None],
            model=ModelRef(**vars(heading.maker)),
            identity=heading.identity,
            **self._named(rows),
        )

    def _named(self, rows: Sequence[Row]) -> dict[str, Any]:
        metadata = [json.loads(row.metadata) for row in rows]
        return {"ids": [row.id for row in rows], "metadata": metadata, **self._same}

    def _count(self, rows: Sequence[Row], outcomes: Sequence[AddOutcome]) -> None:
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome.status == "failed":
                self._fail(row, str(outcome.error))
            else:
                self.counts[outcome.status] += 1

    def _fail(self, row: Row, reason: str) -> None:
        self.counts["failed"] += 1
        self.failures[row.id] = reason

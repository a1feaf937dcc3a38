"""Send a folder of exported collections to a server, and compare what it then has with the export."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from diptych.cli.remote import ensure_collection
from diptych.cli.transfer.row_import import RowImport
from diptych.core.backup import Report
from diptych.core.transfer import ExportedCollection, ExportedLabelSet, RowDigest
from diptych.wiring.data_folders import open_parquet_file
from diptych_client import AddStatus, Client, ImageRecord, Label

VERDICTS_AT_ONCE = 500
PAGE = 1_000


@dataclass
class ImportedCollection:
    """What became of a collection. `differences`: what the server has otherwise than the export."""

    name: str
    n_images: int
    counts: Counter[AddStatus] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    n_label_sets: int = 0
    n_verdicts: int = 0
    differences: list[str] = field(default_factory=list)


class FolderImport:
    """Imports one collection after the other. Repeated, it goes on where it was interrupted."""

    def __init__(self, client: Client, folder: Path, report: Report) -> None:
        self._client, self._folder, self._report = client, folder, report

    def run(self, exported: ExportedCollection) -> ImportedCollection:
        """Import a collection with its settings and label sets, and compare it with the export.

        Raises errors that concern every row, such as vectors of another version.
        """
        done = ImportedCollection(exported.setup.name, exported.n_images)
        ensure_collection(self._client, done.name)
        if exported.n_with_image:
            self._client.change_collection(done.name, keep="original")
        if exported.n_images:
            self._add_rows(exported, done)
        setup = exported.setup
        self._client.change_collection(
            done.name,
            keep="none" if setup.keep == "none" else "original",  # pictures of libraries stay in these
            text_fields="all" if setup.text_fields is None else setup.text_fields,
        )
        for label_set in exported.label_sets:
            self._put_label_set(done, label_set)
        done.differences += self._differences(exported)
        return done

    def _add_rows(self, exported: ExportedCollection, done: ImportedCollection) -> None:
        reader = open_parquet_file(self._folder / f"{done.name}.parquet", with_images=True)
        try:
            rows = RowImport(self._client, reader, done.name, replace=False)
            rows.run(self._report)
        finally:
            reader.close()
        done.counts, done.failures = rows.counts, rows.failures

    def _put_label_set(self, done: ImportedCollection, exported: ExportedLabelSet) -> None:
        definition = exported.definition
        self._client.put_label_set(
            done.name,
            exported.name,
            [Label(label, tuple(words)) for label, *words in cast(list[list[str]], definition["labels"])],
            kind=cast(Literal["one", "many"], definition["kind"]),
            templates=cast(list[str] | str, definition["templates"]),
            min_score=cast(float | None, definition["min_score"]),
            precision=cast(float | None, definition.get("precision")),
        )
        done.n_label_sets += 1
        n_stored = 0
        for start in range(0, len(exported.verdicts), VERDICTS_AT_ONCE):
            some = exported.verdicts[start : start + VERDICTS_AT_ONCE]
            given = self._client.give_verdicts(
                done.name,
                exported.name,
                {one.id: one.labels for one in some},
                drawn={one.id for one in some if one.is_drawn},
                sha256s={one.id: one.sha256 for one in some},
            )
            n_stored += len(given.verdicts)
        done.n_verdicts += n_stored
        if n_stored < len(exported.verdicts):
            lacking = len(exported.verdicts) - n_stored
            done.differences.append(f"label set {exported.name!r} lacks {lacking} verdicts")

    def _differences(self, exported: ExportedCollection) -> Iterator[str]:
        """Read all rows of the server, and yield what differs."""
        name = exported.setup.name
        self._report.begin(f"comparing {name}", exported.n_images)
        n_images, n_kept, digest = 0, 0, RowDigest()
        for record in self._records(name):
            digest.add_stored(record.id, record.sha256, record.metadata, is_image=record.kept)
            n_images, n_kept = n_images + 1, n_kept + record.kept
            self._report.advance()
        for what, here, there in (
            ("images", n_images, exported.n_images),
            ("image files", n_kept, exported.n_with_image),
        ):
            if here != there:
                yield f"it has {here:,} {what}, the export {there:,}"
        if n_images == exported.n_images and str(digest) != exported.digest:
            yield "ids, contents or metadata are others than those of the export"

    def _records(self, collection: str) -> Iterator[ImageRecord]:
        after: str | None = None
        while True:
            page = self._client.list_images(collection, after=after, limit=PAGE)
            yield from page.images
            after = page.next
            if after is None:
                return

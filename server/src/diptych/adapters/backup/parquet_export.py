"""Exports collections as Parquet files."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol

from diptych.adapters.backup.data_folder import DataFolder
from diptych.adapters.backup.exported_folder import write_collections
from diptych.adapters.backup.folder import RECORD_FILE, BackupFolder
from diptych.adapters.files.disk_errors import disk_errors_translated
from diptych.adapters.parquet import ParquetWriter
from diptych.adapters.sqlite.export import SqliteExport
from diptych.bundle.repository import ModelRepository
from diptych.core.backup import Fault, Report
from diptych.core.transfer import (
    ANY_SOURCE,
    ExportedCollection,
    ExportedLabelSet,
    Heading,
    Row,
    RowDigest,
    Setup,
    SourceFilter,
    chosen_identity,
    vector_sources,
)
from diptych.errors import StoreError

N_READERS = 8  # files that are read at once
N_AHEAD = 32  # rows whose images are in memory


class ExportSource(Protocol):
    """The collections of a database, at one moment. Raises StoreError, CorruptStore."""

    def setups(self) -> list[Setup]:
        """All collections by name."""
        ...

    def label_sets(self, collection: str) -> list[ExportedLabelSet]:
        """The label sets of a collection, with the verdicts on pictures that it has now."""
        ...

    def model_of(self, collection: str) -> str:
        """The model that the collection belongs to. Raises NotFound naming the existing collections."""
        ...

    def n_images(self, collection: str) -> int:
        """The number of rows that `rows` returns."""
        ...

    def n_vectors(self, collection: str) -> dict[str, int]:
        """The number of vectors in the collection, by identity."""
        ...

    def embed_dim(self, collection: str, identity: str) -> int:
        """The dimension of the vectors of this identity."""
        ...

    def rows(self, collection: str, identity: str) -> Iterator[tuple[Row, bool]]:
        """The rows in order of creation, each with whether its image file is kept."""
        ...


class ImageReader(Protocol):
    """Where image files are, by the sha256 of their content. From any thread."""

    def read(self, sha256: str) -> bytes | Fault:
        """The content of a file whose sha256 is right; else what is wrong."""
        ...


Opened = AbstractContextManager[tuple[ExportSource, ImageReader]]


@dataclass(frozen=True)
class ExportSummary:
    """The result of an export. `n_lost_images` counts images whose stored file is missing or damaged.

    `n_with_image` have theirs in the file; `digest` is that of the rows, see `RowDigest`.
    """

    heading: Heading
    n_rows: int
    n_without_vector: int
    n_lost_images: int
    n_with_image: int
    digest: str


class ParquetExport:
    """Exports collections, without changing anything."""

    def __init__(self, opened: Callable[[], Opened], repository: ModelRepository, report: Report) -> None:
        """`opened` opens what is read."""
        self._opened = opened
        self._repository = repository
        self._report = report

    def export(
        self, collection: str, file: Path, wanted: SourceFilter, *, with_images: bool
    ) -> ExportSummary:
        """Write one consistent snapshot of a collection, with the wanted vectors, to a new file.

        Raises StoreError, CorruptStore, and NotFound for the collection or the vectors.
        """
        with self._opened() as (source, images):
            return self._export(source, collection, file, wanted, images if with_images else None)

    def export_all(
        self, folder: Path, *, with_images: bool
    ) -> list[tuple[ExportedCollection, ExportSummary | None]]:
        """Write all collections as they are at one moment into a folder, with their settings and label sets.

        One without images has no file, and no summary. Raises as `export`.
        """
        done = list[tuple[ExportedCollection, ExportSummary | None]]()
        with self._opened() as (source, images):
            setups = source.setups()
            with disk_errors_translated("the export", folder.absolute().parent):
                folder.mkdir(parents=True, exist_ok=True)
            for setup in setups:
                name, summary = setup.name, None
                if source.n_images(name):
                    file = folder / f"{name}.parquet"
                    summary = self._export(source, name, file, ANY_SOURCE, images if with_images else None)
                done.append((_described(setup, summary, source.label_sets(name)), summary))
            with disk_errors_translated("the export", folder):
                write_collections(folder, [one for one, _ in done])
        return done

    def _export(
        self,
        source: ExportSource,
        collection: str,
        file: Path,
        wanted: SourceFilter,
        images: ImageReader | None,
    ) -> ExportSummary:
        model = source.model_of(collection)
        sources = vector_sources(self._repository, model, wanted)
        identity = chosen_identity(collection, source.n_vectors(collection), sources, wanted)
        heading = Heading(collection, sources[identity], identity, source.embed_dim(collection, identity))
        self._report.begin(f"exporting {collection}", source.n_images(collection))
        return self._write(file, heading, source.rows(collection, identity), images)

    def _write(
        self, file: Path, heading: Heading, rows: Iterator[tuple[Row, bool]], images: ImageReader | None
    ) -> ExportSummary:
        n_rows = n_without_vector = n_lost = n_with_image = 0
        digest = RowDigest()
        with (
            disk_errors_translated("the export", file.absolute().parent),
            ParquetWriter(file, heading, with_images=images is not None) as writer,
        ):
            for row, found in _with_images(rows, images):
                self._report.advance()
                n_lost += isinstance(found, str)
                n_with_image += isinstance(found, bytes)
                n_without_vector += row.embedding is None
                n_rows += 1
                whole = replace(row, image=found if isinstance(found, bytes) else None)
                writer.add(whole)
                digest.add(whole)
        return ExportSummary(heading, n_rows, n_without_vector, n_lost, n_with_image, str(digest))


def _with_images(
    rows: Iterator[tuple[Row, bool]], images: ImageReader | None
) -> Iterator[tuple[Row, bytes | Fault | None]]:
    """The rows, each with its image where one is kept and wanted. Reads several images at once."""
    if images is None:
        yield from ((row, None) for row, _ in rows)
        return
    with ThreadPoolExecutor(N_READERS, thread_name_prefix="export") as pool:
        while batch := list(islice(rows, N_AHEAD)):
            found = pool.map(lambda one: images.read(one[0].sha256) if one[1] else None, batch)
            yield from zip([row for row, _ in batch], found, strict=True)


def _described(
    setup: Setup, summary: ExportSummary | None, label_sets: list[ExportedLabelSet]
) -> ExportedCollection:
    n_images, n_with_image, digest = (
        (0, 0, str(RowDigest()))
        if summary is None
        else (summary.n_rows, summary.n_with_image, summary.digest)
    )
    return ExportedCollection(setup, n_images, n_with_image, digest, tuple(label_sets))


@contextmanager
def opened_folder(folder: Path) -> Iterator[tuple[ExportSource, ImageReader]]:
    """Open a data folder or a backup for an export. Raises StoreError, CorruptStore."""
    if not folder.is_dir():
        raise StoreError(f"{folder} is neither a data folder nor a backup")
    if not (folder / RECORD_FILE).exists():
        source = DataFolder(folder)
        with source.snapshot() as snapshot:
            yield SqliteExport(snapshot), source.images
        return
    with closing(BackupFolder(folder)) as backup, backup.snapshot() as snapshot:
        yield SqliteExport(snapshot), backup.images

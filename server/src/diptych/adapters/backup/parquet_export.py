"""Exports a collection of a data folder or a backup as a Parquet file."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from diptych.adapters.backup.data_folder import DataFolder
from diptych.adapters.backup.folder import RECORD_FILE, BackupFolder
from diptych.adapters.files.disk_errors import disk_errors_translated
from diptych.adapters.files.image_tree import ImageTree
from diptych.adapters.parquet import ParquetWriter
from diptych.adapters.sqlite import export
from diptych.bundle.repository import ModelRepository
from diptych.core.backup import Report
from diptych.core.transfer import Heading, Row, SourceFilter, chosen_identity, vector_sources
from diptych.errors import StoreError


@dataclass(frozen=True)
class ExportSummary:
    """The result of an export. `n_lost_images` counts images whose stored file is missing or damaged."""

    heading: Heading
    n_rows: int
    n_without_vector: int
    n_lost_images: int


class ParquetExport:
    """Exports collections of a data folder or a backup, without changing it."""

    def __init__(self, folder: Path, repository: ModelRepository, report: Report) -> None:
        self._folder = folder
        self._repository = repository
        self._report = report

    def export(
        self, collection: str, file: Path, wanted: SourceFilter, *, with_images: bool
    ) -> ExportSummary:
        """Write one consistent snapshot of a collection, with the wanted vectors, to a new file.

        Raises StoreError, CorruptStore, and NotFound for the collection or the vectors.
        """
        with ExitStack() as stack:
            source = stack.enter_context(_opened(self._folder))
            snapshot = stack.enter_context(source.snapshot())
            model = export.model_of(snapshot, collection)
            n_vectors = export.n_vectors(snapshot, collection)
            sources = vector_sources(self._repository, model, wanted)
            identity = chosen_identity(collection, n_vectors, sources, wanted)
            dim = export.embed_dim(snapshot, identity)
            heading = Heading(collection, sources[identity], identity, dim)
            self._report.begin("exporting images", export.n_images(snapshot, collection))
            rows = export.rows(snapshot, collection, identity)
            images = source.images if with_images else None
            return self._write(file, heading, rows, images)

    def _write(
        self, file: Path, heading: Heading, rows: Iterator[tuple[Row, bool]], images: ImageTree | None
    ) -> ExportSummary:
        n_rows = n_without_vector = n_lost = 0
        with (
            disk_errors_translated("the export", file.absolute().parent),
            ParquetWriter(file, heading, with_images=images is not None) as writer,
        ):
            for row, kept in rows:
                self._report.advance()
                found = images.read(row.sha256) if images is not None and kept else None
                n_lost += isinstance(found, str)
                n_without_vector += row.embedding is None
                n_rows += 1
                writer.add(replace(row, image=None if isinstance(found, str) else found))
        return ExportSummary(heading, n_rows, n_without_vector, n_lost)


@contextmanager
def _opened(folder: Path) -> Iterator[DataFolder | BackupFolder]:
    if not folder.is_dir():
        raise StoreError(f"{folder} is neither a data folder nor a backup")
    if not (folder / RECORD_FILE).exists():
        yield DataFolder(folder)
        return
    with closing(BackupFolder(folder)) as backup:
        yield backup

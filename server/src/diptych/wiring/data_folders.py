"""Open data folders, backups and Parquet files for commands that run without a server.

Loads no model runtime, so that these commands start at once; loads pyarrow only for Parquet files.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.adapters.backup.create import back_up
from diptych.adapters.backup.data_folder import check as check_data_folder
from diptych.adapters.backup.exported_folder import read_collections
from diptych.adapters.backup.folder import RECORD_FILE
from diptych.adapters.backup.folder import verify as verify_backup
from diptych.adapters.backup.restore import restore as restore_backup
from diptych.adapters.files.database_id import id_of
from diptych.adapters.files.image_tree import ImageTree
from diptych.adapters.sqlite.store import DATABASE
from diptych.bundle.repository import ModelRepository
from diptych.core.backup import Report
from diptych.errors import ConfigError
from diptych.settings import Settings
from diptych.wiring.store import open_bucket, require_postgres

if TYPE_CHECKING:
    from diptych.adapters.backup.parquet_export import ExportSource, ImageReader, ParquetExport
    from diptych.adapters.objects.bucket import Bucket
    from diptych.adapters.parquet import ParquetReader

__all__ = [
    "back_up",
    "check_data_folder",
    "open_parquet_export",
    "open_parquet_file",
    "read_collections",
    "read_label_parquet",
    "require_parquet",
    "restore_backup",
    "verify_backup",
    "write_label_parquet",
]


def require_parquet() -> None:
    """Raise ConfigError that says what to install, unless Parquet files can be read and written."""
    try:
        import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            "Parquet files need pyarrow, which is not installed here: "
            "pip install -e clients/python -e 'server[parquet]', in the repository"
        ) from error


def open_parquet_export(settings: Settings, report: Report) -> "ParquetExport":
    """Return the export of collections out of the data folder, or a backup that is named in its place.

    With a store, out of that. Raises ConfigError, also if the folder has a database of its own then.
    """
    require_parquet()
    from diptych.adapters.backup.parquet_export import ParquetExport, opened_folder  # noqa: PLC0415 - needs pyarrow

    folder, is_stored = settings.data_dir, settings.store is not None
    if is_stored and any((folder / name).exists() for name in (DATABASE, RECORD_FILE)):
        raise ConfigError(
            f"data folder {folder} has a database of its own, and DIPTYCH_STORE names another one: unset "
            "DIPTYCH_STORE to export the folder, or name another --data-dir to export the store"
        )
    opened = partial(_opened_store, settings) if is_stored else partial(opened_folder, folder)
    return ParquetExport(opened, ModelRepository(settings.model_repo), report)


@contextmanager
def _opened_store(settings: Settings) -> "Iterator[tuple[ExportSource, ImageReader]]":
    """Open the database that DIPTYCH_STORE names, with its originals, also while servers use them."""
    require_postgres()
    from diptych.adapters.postgres.export import postgres_export  # noqa: PLC0415 - needs psycopg

    assert settings.store is not None
    bucket = open_bucket(settings)
    with postgres_export(settings.store.get_secret_value()) as source:
        originals = bucket or settings.originals_dir
        if id_of(originals) != source.folder_id():
            raise ConfigError(
                f"{originals} does not have the originals of the database: name them as its servers do, by "
                "DIPTYCH_ORIGINALS, or by --data-dir if there is one server"
            )
        yield source, _reader_of(originals)


def _reader_of(originals: "Path | Bucket") -> "ImageReader":
    if isinstance(originals, Path):
        return ImageTree(originals / "images")
    from diptych.adapters.objects.image_objects import ObjectReader  # noqa: PLC0415 - needs obstore

    return ObjectReader(originals)


def open_parquet_file(file: Path, *, with_images: bool) -> "ParquetReader":
    """Open an exported Parquet file for reading. Raises ConfigError, and InvalidValue naming the fault."""
    require_parquet()
    from diptych.adapters.parquet import ParquetReader  # noqa: PLC0415 - needs pyarrow

    return ParquetReader(file, with_images=with_images)


def write_label_parquet(file: Path, lines: Iterable[bytes]) -> int:
    """Write lines of JSON, of an export of labels, as a Parquet file; return how many.

    Raises ConfigError, OSError.
    """
    require_parquet()
    from diptych.adapters.label_parquet import write_labels  # noqa: PLC0415 - needs pyarrow

    return write_labels(file, lines)


def read_label_parquet(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file of labels. Raises ConfigError, and InvalidValue naming the file."""
    require_parquet()
    from diptych.adapters.label_parquet import read_labels  # noqa: PLC0415 - needs pyarrow

    return read_labels(file)

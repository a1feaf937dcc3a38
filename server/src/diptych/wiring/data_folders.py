"""Open data folders, backups and Parquet files for commands that run without a server.

Loads no model runtime, so that these commands start at once; loads pyarrow only for Parquet files.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.adapters.backup.create import back_up
from diptych.adapters.backup.data_folder import check as check_data_folder
from diptych.adapters.backup.folder import verify as verify_backup
from diptych.adapters.backup.restore import restore as restore_backup
from diptych.bundle.repository import ModelRepository
from diptych.core.backup import Report
from diptych.errors import ConfigError

if TYPE_CHECKING:
    from diptych.adapters.backup.parquet_export import ParquetExport
    from diptych.adapters.parquet import ParquetReader

__all__ = [
    "back_up",
    "check_data_folder",
    "open_parquet_export",
    "open_parquet_file",
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


def open_parquet_export(folder: Path, model_repo: Path, report: Report) -> "ParquetExport":
    """Return the export of collections out of `folder`, a data folder or a backup. Raises ConfigError."""
    require_parquet()
    from diptych.adapters.backup.parquet_export import ParquetExport  # noqa: PLC0415 - needs pyarrow

    return ParquetExport(folder, ModelRepository(model_repo), report)


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

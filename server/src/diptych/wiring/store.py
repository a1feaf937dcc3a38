"""Choose where collections are stored: in the data folder, or in PostgreSQL."""

import logging
import shutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.adapters.backup.data_folder import (
    files_of_rows,
    refuse_lost_database,
    refuse_lost_images,
    require_database,
    require_images,
)
from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.database_id import DATABASE_ID, refuse_rows_elsewhere
from diptych.adapters.files.index_files import FOLDER as INDEX_FOLDER
from diptych.adapters.files.index_files import index_errors
from diptych.adapters.files.quota import Quota
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.errors import ConfigError
from diptych.settings import Settings

if TYPE_CHECKING:
    from diptych.adapters.postgres.store import PostgresStore

    Store = SqliteStore | PostgresStore

LOG = logging.getLogger("diptych.store")


def open_store(settings: Settings, quota: Quota, lock: DataLock) -> "Store":
    """Open the store of a data folder, which owns the folder's lock from then on.

    Refuses a folder that has lost its database or its originals, and a database that another server uses.
    Raises StoreError, CorruptStore, ConfigError.
    """
    if settings.store is None:
        return _open_sqlite(settings, quota, lock)
    if (settings.data_dir / DATABASE).exists():
        raise ConfigError(
            f"data folder {settings.data_dir} has a database of its own, {DATABASE}: with DIPTYCH_STORE take "
            "an empty folder, and move the collections with `diptych collections export` and `import`"
        )
    postgres_store = _postgres_store()
    url, originals = settings.store.get_secret_value(), settings.originals_dir
    if settings.originals is not None:
        _require_common(originals, settings.data_dir)
    store = postgres_store(
        url,
        settings.data_dir,
        lock,
        is_used=bool(files_of_rows(originals)),
        originals=None if settings.originals is None else originals,
    )
    try:
        require_images(originals, store.n_originals_now)
        _remove_stale_indexes(store, settings.data_dir)
    except BaseException:
        store.close_now()
        raise
    return store


def _remove_stale_indexes(store: "PostgresStore", data_dir: Path) -> None:
    """Remove the files of indexes if the database lacks a write that they may know. Raises StoreError."""
    if not store.lacks_known_now():
        return
    LOG.warning(
        "the database lacks writes that the data folder knows, as a standby that lagged or a dump that was "
        "restored, or has had many since: the files of indexes are made again"
    )
    with index_errors():
        if (data_dir / INDEX_FOLDER).exists():
            shutil.rmtree(data_dir / INDEX_FOLDER)
    store.keep_known_now()


def _require_common(originals: Path, data_dir: Path) -> None:
    """Raise ConfigError unless the folder of the originals is there, and the data folder has none."""
    if not originals.is_dir():
        raise ConfigError(f"DIPTYCH_ORIGINALS: there is no folder {originals}: make it, or mount its disk")
    if any(data_dir.glob("images/??/*")):
        raise ConfigError(
            f"data folder {data_dir} has originals of its own: move its images, thumbnails and {DATABASE_ID} "
            f"to {originals}, which DIPTYCH_ORIGINALS names"
        )


def _open_sqlite(settings: Settings, quota: Quota, lock: DataLock) -> SqliteStore:
    refuse_rows_elsewhere(settings.data_dir)
    read_only = settings.read_only
    (require_database if read_only else refuse_lost_database)(settings.data_dir)
    refuse_lost_images(settings.data_dir, read_only=read_only)
    return SqliteStore(settings.data_dir, quota, lock, read_only=read_only, checks_in_background=True)


def _postgres_store() -> "type[PostgresStore]":
    try:
        import_module("psycopg")
    except ImportError as error:
        raise ConfigError(
            "DIPTYCH_STORE needs psycopg, which cannot be used here: pip install -e clients/python "
            f"-e 'server[postgres]', in the repository ({error})"
        ) from error
    from diptych.adapters.postgres.store import PostgresStore  # noqa: PLC0415 - needs psycopg

    return PostgresStore

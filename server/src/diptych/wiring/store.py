"""Choose where collections are stored: in the data folder, or in PostgreSQL."""

import logging
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from socket import gethostname
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
from diptych.settings import LOOPBACK, Settings

if TYPE_CHECKING:
    from diptych.adapters.objects.bucket import Bucket
    from diptych.adapters.postgres.store import PostgresStore

    Store = SqliteStore | PostgresStore

log = logging.getLogger(__name__)

ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})  # noqa: S104 - not listened on
N_HOST = 32  # characters of a host in the name of a server


def open_bucket(settings: Settings) -> "Bucket | None":
    """The object store of the originals; None if they are in a folder. Raises ConfigError."""
    if settings.originals_bucket is None:
        return None
    try:
        import_module("obstore")
    except ImportError as error:
        raise ConfigError(_lacks("DIPTYCH_ORIGINALS", "obstore", "s3", error)) from error
    from diptych.adapters.objects.bucket import Bucket  # noqa: PLC0415 - needs obstore

    return Bucket(settings.originals_bucket)


def open_store(settings: Settings, quota: Quota, lock: DataLock, bucket: "Bucket | None" = None) -> "Store":
    """Open the store of a data folder, which owns the folder's lock from then on.

    `bucket`: of the originals, if they are in one. Refuses a folder that has lost its database or its
    originals, and a database that another server uses. Raises StoreError, CorruptStore, ConfigError.
    """
    if settings.store is None:
        return _open_sqlite(settings, quota, lock)
    if (settings.data_dir / DATABASE).exists():
        raise ConfigError(
            f"data folder {settings.data_dir} has a database of its own, {DATABASE}: with DIPTYCH_STORE take "
            "an empty folder, and move the collections with `diptych collections export` and `import`"
        )
    postgres_store = _postgres_store()
    originals = bucket or settings.originals_dir
    if settings.originals is not None:
        _require_common(originals, settings.data_dir)
    store = postgres_store(
        settings.store.get_secret_value(),
        settings.data_dir,
        lock,
        name=_name(settings),
        is_used=bool(files_of_rows(originals)) if isinstance(originals, Path) else originals.has_images(),
        originals=None if settings.originals is None else originals,
        reads_only=settings.read_only,
    )
    try:
        _require_images(originals, store.n_originals_now, writes=not settings.read_only)
        _remove_stale_indexes(store, settings.data_dir)
    except BaseException:
        store.close_now()
        raise
    return store


def _name(settings: Settings) -> str:
    """The name of this server in the database, which cuts names at 63 characters: by its address, or by its
    machine where that says more.
    """
    is_local = settings.host in LOOPBACK | ALL_ADDRESSES
    host = settings.host if not is_local and len(settings.host) <= N_HOST else gethostname()[:N_HOST]
    return f"diptych {f'[{host}]' if ':' in host else host}:{settings.port}"


def _remove_stale_indexes(store: "PostgresStore", data_dir: Path) -> None:
    """Remove the files of indexes if the database lacks a write that they may know. Raises StoreError."""
    if not store.lacks_known_now():
        return
    log.warning(
        "the database lacks writes that the data folder knows, as a standby that lagged or a dump that was "
        "restored, or has had many since: the files of indexes are made again"
    )
    with index_errors():
        if (data_dir / INDEX_FOLDER).exists():
            shutil.rmtree(data_dir / INDEX_FOLDER)
    store.keep_known_now()


def _require_common(originals: "Path | Bucket", data_dir: Path) -> None:
    """Raise ConfigError unless the folder of the originals is there, and the data folder has none."""
    if isinstance(originals, Path) and not originals.is_dir():
        raise ConfigError(f"DIPTYCH_ORIGINALS: there is no folder {originals}: make it, or mount its disk")
    if any(data_dir.glob("images/??/*")):
        raise ConfigError(
            f"data folder {data_dir} has originals of its own: move its images, thumbnails and {DATABASE_ID} "
            f"to {originals}, which DIPTYCH_ORIGINALS names"
        )


def _require_images(originals: "Path | Bucket", count: Callable[[], int], *, writes: bool) -> None:
    """Raise CorruptStore if the folder of originals that rows refer to is gone, StoreUnavailable if an object
    store takes no writes, where the server `writes`. The log has what is empty.
    """
    if isinstance(originals, Path):
        require_images(originals, count)
        return
    if writes:
        originals.now()  # a write
    if not originals.has_images() and (n_files := count()):
        log.warning(
            "the object store %s has no images, and the database knows of originals in it (files: %d)",
            originals,
            n_files,
        )


def _lacks(setting: str, package: str, extra: str, error: ImportError) -> str:
    return (
        f"{setting} needs {package}, which cannot be used here: pip install -e clients/python "
        f"-e 'server[{extra}]', in the repository ({error})"
    )


def _open_sqlite(settings: Settings, quota: Quota, lock: DataLock) -> SqliteStore:
    refuse_rows_elsewhere(settings.data_dir)
    read_only = settings.read_only
    (require_database if read_only else refuse_lost_database)(settings.data_dir)
    refuse_lost_images(settings.data_dir, read_only=read_only)
    return SqliteStore(settings.data_dir, quota, lock, read_only=read_only, checks_in_background=True)


def require_postgres() -> None:
    """Raise ConfigError that says what to install, unless PostgreSQL can be spoken to."""
    try:
        import_module("psycopg")
    except ImportError as error:
        raise ConfigError(_lacks("DIPTYCH_STORE", "psycopg", "postgres", error)) from error


def _postgres_store() -> "type[PostgresStore]":
    require_postgres()
    from diptych.adapters.postgres.store import PostgresStore  # noqa: PLC0415 - needs psycopg

    return PostgresStore

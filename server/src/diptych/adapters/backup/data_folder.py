"""Reads and checks a data folder without changing it, also while a server uses it."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from diptych.adapters.backup.folder import faults_of
from diptych.adapters.files.atomic_files import file_errors, size_of
from diptych.adapters.files.image_tree import ImageTree
from diptych.adapters.files.kept_bundles import FOLDER as BUNDLES
from diptych.adapters.files.kept_bundles import KeptBundles
from diptych.adapters.sqlite.snapshot import SqliteSnapshot
from diptych.adapters.sqlite.store import DATABASE
from diptych.core.backup import Outcome, Report
from diptych.errors import ConfigError, CorruptStore, StoreError

# Files that exist only after the database exists. Their names have the length of a sha256 or of a job's id;
# the names of interrupted writes have not.
_CONTENTS = {
    "images": "images/??/" + "?" * 64,
    "thumbnails": "thumbnails/??/*",
    "inputs of jobs": "jobs/" + "?" * 32,
}
_LOG = f"{DATABASE}-wal"

log = logging.getLogger(__name__)


def refuse_lost_database(data_dir: Path) -> None:
    """Raises CorruptStore for a folder that was in use and has lost its database.

    With a new, empty database all collections would silently disappear and the files be removed. The check
    looks for files that are created after the database, so that a killed first start does not trigger it.
    """
    with file_errors():
        if _has_images_table(data_dir / DATABASE):
            return
        left = files_of_rows(data_dir)
        if size_of(data_dir / DATABASE) == 0 and size_of(data_dir / _LOG) > 0:
            left.append(_LOG)
    if left:
        raise CorruptStore(
            f"data folder {data_dir} was in use and has lost its database {DATABASE}, but not all else "
            f"({', '.join(left)}): restore a backup with `diptych restore FOLDER --data-dir {data_dir} "
            "--replace`, or move everything out of the folder to start with an empty one"
        )


def files_of_rows(data_dir: Path) -> list[str]:
    """What is in a folder that only a database knows of, with numbers of files. Raises StoreError."""
    with file_errors():
        counts = {what: sum(1 for _ in data_dir.glob(pattern)) for what, pattern in _CONTENTS.items()}
        left = [f"{what}: {n_files}" for what, n_files in counts.items() if n_files]
        return left or (["thumbnails"] if (data_dir / "thumbnails").exists() else [])


def require_database(data_dir: Path) -> None:
    """Raises ConfigError for a folder without a database, which a read-only server does not make."""
    with file_errors():
        if size_of(data_dir / DATABASE) == 0:
            raise ConfigError(
                f"data folder {data_dir} has no database {DATABASE}: a read-only server serves a folder that "
                "another server has filled"
            )


def refuse_lost_images(data_dir: Path, *, read_only: bool = False) -> None:
    """As `require_images`, for the database in the folder. `read_only`: no file is made next to it."""
    require_images(data_dir, partial(_n_originals, data_dir, read_only=read_only))


def require_images(data_dir: Path, count_originals: Callable[[], int]) -> None:
    """Raises CorruptStore if the database refers to originals and their folder is gone, as without its disk.

    Files in a new folder would be hidden once the disk is mounted. For an empty folder only a warning is
    logged.
    """
    folder = data_dir / "images"
    with file_errors():
        if any(data_dir.glob(_CONTENTS["images"])):
            return
        is_there = folder.exists()
    n_files = count_originals()
    if n_files and not is_there:
        raise CorruptStore(
            f"the folder {folder} is not there, and the database knows of originals in it "
            f"(files: {n_files}): mount its disk, or restore a backup with "
            f"`diptych restore FOLDER --data-dir {data_dir} --replace`; to go on without the originals, "
            f"make an empty folder {folder}"
        )
    if n_files:
        log.warning(
            "the folder %s is empty, and the database knows of originals in it (files: %d): if they are on a "
            "disk that is not mounted, stop the server and mount it",
            folder,
            n_files,
        )


class DataFolder:
    """A data folder: its latest database state, its image files and the model versions that it keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = ImageTree(folder / "images")
        self.bundles = KeptBundles(folder / BUNDLES)

    def snapshot(self, *, immutable: bool = False) -> SqliteSnapshot:
        """The latest state of the database. Raises StoreError if this is not a data folder; CorruptStore.

        `immutable`: nobody writes to the database.
        """
        return SqliteSnapshot(self.folder / DATABASE, immutable=immutable)


def _has_images_table(file: Path) -> bool:
    """Whether the file is a database of images. A damaged one counts: the store reports the damage."""
    if size_of(file) == 0:
        return False
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'images'").fetchone() is not None
    except sqlite3.DatabaseError:
        return True


def _n_originals(data_dir: Path, *, read_only: bool) -> int:
    """The number of image files that the database refers to; 0 if it is unreadable."""
    try:
        with DataFolder(data_dir).snapshot(immutable=read_only) as snapshot:
            return snapshot.counts().n_files if snapshot.has_files() else 0
    except (StoreError, CorruptStore):
        return 0


def check(data_dir: Path, report: Report) -> Outcome:
    """Check every row, vector, image file and index of words, also while a server uses the folder.

    Raises CorruptStore for a database with a damaged structure, as a start would; StoreError. Images that are
    deleted meanwhile are not reported as lost.
    """
    folder = DataFolder(data_dir)
    report.begin("checking the database", 1)
    with folder.snapshot() as snapshot:
        damaged_words = snapshot.require_sound()
        words = (one for one in snapshot.differing_words() if one.collection not in damaged_words)
        damaged = (*snapshot.damaged_images(), *words)
        files = list(snapshot.files())
    report.begin("checking images", len(files))
    faults = faults_of(folder.images.check(files), report)
    with folder.snapshot() as newest:
        return Outcome(None, newest.lost_images(faults), damaged, damaged_words)

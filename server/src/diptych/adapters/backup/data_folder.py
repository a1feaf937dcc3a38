"""Look into a data folder beside the process that serves it, or while none does; changes nothing."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from diptych.adapters.backup.folder import faults_of
from diptych.adapters.files.atomic_files import size_of, translated
from diptych.adapters.files.image_tree import ImageTree
from diptych.adapters.sqlite.snapshot import SqliteSnapshot
from diptych.adapters.sqlite.store import DATABASE
from diptych.core.backup import Outcome, Report
from diptych.errors import CorruptStore, StoreError

# What comes into a folder after its database only. Names are as long as a sha256 or the id of a job; those of
# broken writes are not.
_LATER = {
    "images": "images/??/" + "?" * 64,
    "thumbnails": "thumbnails/??/*",
    "inputs of jobs": "jobs/" + "?" * 32,
}
_LOG = f"{DATABASE}-wal"

log = logging.getLogger(__name__)


def refuse_lost_database(data_dir: Path) -> None:
    """Raises CorruptStore for a folder that was in use, and lacks the database that knows what is in it.

    A new database would know nothing of it: collections would be gone without a word, and files removed. All
    that is looked for comes after the database, so that no kill of a first start leaves it without.
    """
    with translated():
        if _knows_images(data_dir / DATABASE):
            return
        counts = {what: sum(1 for _ in data_dir.glob(pattern)) for what, pattern in _LATER.items()}
        left = [f"{what}: {n_files}" for what, n_files in counts.items() if n_files]
        left += ["thumbnails"] if not left and (data_dir / "thumbnails").exists() else []
        if size_of(data_dir / DATABASE) == 0 and size_of(data_dir / _LOG) > 0:
            left.append(_LOG)
    if left:
        raise CorruptStore(
            f"data folder {data_dir} was in use and has lost its database {DATABASE}, but not all else "
            f"({', '.join(left)}): restore a backup with `diptych restore FOLDER --data-dir {data_dir} "
            "--replace`, or move everything out of the folder to begin an empty one"
        )


def refuse_lost_images(data_dir: Path) -> None:
    """Raises CorruptStore where originals are kept and the folder of them is not there, as without its disk.

    A new folder would take files that the disk hides once it is mounted. An empty one is only warned of.
    """
    folder = data_dir / "images"
    with translated():
        if any(data_dir.glob(_LATER["images"])):
            return
        is_there = folder.exists()
    n_files = _n_originals(data_dir)
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
    """Its newest state, and its image files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = ImageTree(folder / "images")

    def snapshot(self) -> SqliteSnapshot:
        """The newest state. Raises StoreError for what is no data folder, CorruptStore."""
        return SqliteSnapshot(self.folder / DATABASE)


def _knows_images(file: Path) -> bool:
    """Whether it ever was a database of images. One that is damaged is for the store to refuse."""
    if size_of(file) == 0:
        return False
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'images'").fetchone() is not None
    except sqlite3.DatabaseError:
        return True


def _n_originals(data_dir: Path) -> int:
    """Files that its database speaks of; 0 where it cannot tell, which is for the store to refuse."""
    try:
        with DataFolder(data_dir).snapshot() as snapshot:
            return snapshot.counts().n_files
    except (StoreError, CorruptStore):
        return 0


def check(data_dir: Path, report: Report) -> Outcome:
    """Read every row, vector and image file of a folder that may be served.

    Raises CorruptStore for a database that contradicts itself, as a start would, and StoreError. What is
    deleted meanwhile is not lost.
    """
    folder = DataFolder(data_dir)
    report.begin("checking the database", 1)
    with folder.snapshot() as snapshot:
        snapshot.require_sound()
        damaged, lacks_checksums = snapshot.damaged_images(), snapshot.lacks_checksums()
        files = list(snapshot.files())
    report.begin("checking images", len(files))
    faults = faults_of(folder.images.check(files), report)
    with folder.snapshot() as newest:
        return Outcome(None, newest.lost_images(faults), damaged, lacks_checksums)

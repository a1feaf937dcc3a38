"""Look into a data folder beside the process that serves it, or while none does; changes nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

from diptych.adapters.image_tree import ImageTree
from diptych.adapters.sqlite_snapshot import SqliteSnapshot
from diptych.adapters.sqlite_store import DATABASE
from diptych.adapters.whole_files import size_of, translated
from diptych.errors import CorruptStore

# Names are as long as a sha256 or the id of a job; those of broken writes are not.
_KEPT = ("images/??/" + "?" * 64, "jobs/" + "?" * 32)


def refuse_lost_database(data_dir: Path) -> None:
    """Raises CorruptStore for files of images or jobs without the database that knows them.

    A new database would know none of them, and so they would be removed. Files come after their database, so
    that no kill leaves them without it.
    """
    with translated():
        if _knows_images(data_dir / DATABASE):
            return
        n_files = sum(1 for pattern in _KEPT for _ in data_dir.glob(pattern))
    if n_files:
        raise CorruptStore(
            f"data folder {data_dir} has lost its database {DATABASE} but not the files of images and jobs, "
            f"{n_files} of them: restore a backup with `diptych restore FOLDER --data-dir {data_dir} "
            "--replace`, or move images/ and jobs/ out of the folder to begin an empty one"
        )


class DataFolder:
    """Satisfies `diptych.core.backup.ServedFolder`."""

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

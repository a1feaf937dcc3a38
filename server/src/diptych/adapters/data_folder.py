"""Look into a data folder beside the process that serves it, or while none does; changes nothing."""

from pathlib import Path

from diptych.adapters.image_tree import ImageTree
from diptych.adapters.sqlite_snapshot import SqliteSnapshot
from diptych.adapters.sqlite_store import DATABASE


class DataFolder:
    """Satisfies `diptych.core.backup.ServedFolder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = ImageTree(folder / "images")

    def snapshot(self) -> SqliteSnapshot:
        """The newest state. Raises StoreError for what is no data folder, CorruptStore."""
        return SqliteSnapshot(self.folder / DATABASE)

"""The id by which a data folder and a database of its own server, such as PostgreSQL, know each other.

A start removes files that its database does not know. So a folder whose rows are elsewhere has a file with an
id, which the database has too: no other database, and no SQLite file, is taken for its own. Originals in an
object store have it as well.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Protocol

from diptych.adapters.files.disk_errors import file_errors_translated
from diptych.adapters.files.private_files import make_new
from diptych.durable import fsync_folder
from diptych.errors import ConfigError

DATABASE_ID = "database-id"


class ObjectsOfOriginals(Protocol):
    """An object store of originals, which keeps the id of their database. Raises StoreUnavailable."""

    def read_id(self) -> str | None:
        """The id; None if there is none yet."""
        ...

    def write_id(self, id: str) -> None:
        """Write the id, unless there is one."""
        ...


Originals = Path | ObjectsOfOriginals


@dataclass(frozen=True)
class FolderIds:
    """Satisfies `adapters.postgres.schema.FolderId`: the id of a data folder, and of the folder or object
    store of its originals, which several data folders may share.
    """

    data_dir: Path
    originals: Originals

    @property
    def originals_name(self) -> str:
        """What errors call the place of the originals."""
        if self.originals == self.data_dir:
            return f"data folder {self.data_dir}"
        kind = "folder" if isinstance(self.originals, Path) else "object store"
        return f"the {kind} {self.originals} (DIPTYCH_ORIGINALS)"

    def known(self) -> str | None:
        """The id; None if the originals have none. Raises ConfigError, StoreError."""
        own, common = id_of(self.data_dir), id_of(self.originals)
        if own is not None and own != common:
            raise ConfigError(
                f"data folder {self.data_dir} belongs to another database than {self.originals_name}: "
                "correct DIPTYCH_ORIGINALS, or take an empty data folder"
            )
        return common

    def keep(self, id: str) -> None:
        """Write the id where it is not there yet. Raises StoreError."""
        if isinstance(self.originals, Path):
            _write(self.originals, id)
        elif id_of(self.originals) is None:  # a server that only reads may have no key to write
            self.originals.write_id(id)
        _write(self.data_dir, id)


def id_of(place: Originals) -> str | None:
    """The id that a folder or object store has; None if it has none. Raises StoreError."""
    if not isinstance(place, Path):
        return place.read_id()
    file = place / DATABASE_ID
    with file_errors_translated("the data folder"):
        return file.read_text().strip() if file.exists() else None


def _write(folder: Path, id: str) -> None:
    file = folder / DATABASE_ID
    with file_errors_translated("the data folder"):
        if file.exists():
            return
        new = file.with_name(f".tmp-{DATABASE_ID}-{token_hex(4)}")
        make_new(new)
        with new.open("wb") as opened:
            opened.write(f"{id}\n".encode())
            opened.flush()
            os.fsync(opened.fileno())
        with suppress(FileExistsError):  # another server was first
            os.link(new, file)
        new.unlink()
        fsync_folder(folder)


def refuse_rows_elsewhere(data_dir: Path) -> None:
    """Raise ConfigError for a folder whose rows are in a database server."""
    if (data_dir / DATABASE_ID).exists():
        raise ConfigError(
            f"the rows of data folder {data_dir} are in PostgreSQL ({DATABASE_ID} is there): a server and an "
            "export need DIPTYCH_STORE; there is no backup, restore or check of such a folder: use pg_dump "
            "and a copy of the originals, which are in the folder unless DIPTYCH_ORIGINALS names another "
            "place"
        )

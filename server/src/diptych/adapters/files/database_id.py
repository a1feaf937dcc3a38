"""The id by which a data folder and a database of its own server, such as PostgreSQL, know each other.

A start removes files that its database does not know. So a folder whose rows are elsewhere has a file with an
id, which the database has too: no other database, and no SQLite file, is taken for its own.
"""

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from diptych.adapters.files.disk_errors import file_errors_translated
from diptych.adapters.files.private_files import make_new
from diptych.durable import fsync_folder
from diptych.errors import ConfigError

DATABASE_ID = "database-id"


def database_id(folder: Path, id: str | None = None) -> str:
    """The id of the folder, which is made once, or is the given one. Raises StoreError."""
    file = folder / DATABASE_ID
    with file_errors_translated("the data folder"):
        if not file.exists():
            new = file.with_name(f".tmp-{DATABASE_ID}-{token_hex(4)}")
            make_new(new)
            with new.open("wb") as opened:
                opened.write(f"{id or token_hex(16)}\n".encode())
                opened.flush()
                os.fsync(opened.fileno())
            with suppress(FileExistsError):  # another server was first
                os.link(new, file)
            new.unlink()
            fsync_folder(folder)
        return file.read_text().strip()


def refuse_rows_elsewhere(data_dir: Path) -> None:
    """Raise ConfigError for a folder whose rows are in a database server."""
    if (data_dir / DATABASE_ID).exists():
        raise ConfigError(
            f"the rows of data folder {data_dir} are in PostgreSQL ({DATABASE_ID} is there): a server needs "
            "DIPTYCH_STORE; there is no backup, restore, check or export of such a folder yet: use pg_dump "
            "and a copy of the folder"
        )

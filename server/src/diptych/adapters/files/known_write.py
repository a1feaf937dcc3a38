"""The last write of a database that the files of a data folder may know of.

A database on a standby that lagged, or one restored from a dump, lacks writes. The files of indexes may have
vectors of rows that are lost, whose keys new rows get.
"""

from pathlib import Path
from secrets import token_hex

from diptych.adapters.files.disk_errors import file_errors_translated
from diptych.adapters.files.private_files import make_new
from diptych.durable import fsync_folder, write_durably

FILE = "known-write"


def keep_known_write(data_dir: Path, number: int, id: str) -> None:
    """Write the number and the id of a write, so that they last. Blocking. Raises StoreError."""
    new = data_dir / f".tmp-{FILE}-{token_hex(4)}"
    with file_errors_translated("the data folder"):
        make_new(new)
        write_durably(new, f"{number} {id}\n".encode())
        new.replace(data_dir / FILE)
        fsync_folder(data_dir)


def known_write(data_dir: Path) -> tuple[int, str] | None:
    """The number and the id of the write; None if there is none. Raises StoreError."""
    file = data_dir / FILE
    with file_errors_translated("the data folder"):
        if not file.exists():
            return None
        number, _, id = file.read_text().strip().partition(" ")
        return (int(number), id) if number.isdigit() else (-1, "")  # a damaged file names no write

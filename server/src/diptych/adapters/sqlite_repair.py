"""Build damaged indexes of a database anew, where its tables are whole; knows nothing of what rows mean."""

# ruff: noqa: S608 - only names from the schema are spliced into statements

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from diptych.adapters.refused_writes import sqlite_errors_translated
from diptych.adapters.sqlite_schema import connect, damaged, faults, is_corrupt
from diptych.errors import CorruptStore, StoreFull

_ALL = 2**31 - 1  # faults
_OF_INDEX = re.compile(r" index (\S+)$")  # "row 7 missing from index images_by_key"
_LEAKED = re.compile(r"(\*\*\* in database main \*\*\* )?(Page \d+: never used ?)+")


def rebuild_indexes(file: Path) -> list[str]:
    """The names of those that are built anew, in one transaction; none of a sound database.

    All where a fault does not say in which index it is. Raises CorruptStore, with everything as it was, where
    more than indexes is damaged; StoreError.
    """
    with sqlite_errors_translated(file.parent), closing(connect(file, writes=True)) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            with closing(connect(file, writes=False)) as beside:  # an error here spoils no transaction
                names = _damaged_indexes(beside)
                lacking = [name for name in names if _lacks_entries(beside, name)]
            for name in names:
                db.execute(f'REINDEX "{name}"')
            # Pages that the index has lost. With no such index they may be those of a table.
            if leaks := _require_whole(db, may_leak=bool(lacking)):
                _require_room(file)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite itself rolls back on some errors
                db.execute("ROLLBACK")
            raise
        if leaks:
            db.execute("VACUUM")
            _require_whole(db, may_leak=False)
        return names


def _damaged_indexes(db: sqlite3.Connection) -> list[str]:
    found = [_OF_INDEX.search(fault) for fault in faults(db, _ALL)]
    if all(found):
        return sorted({named[1] for named in found if named})
    query = "SELECT name FROM sqlite_schema WHERE type = 'index' ORDER BY name"
    return [name for (name,) in db.execute(query)]


def _lacks_entries(db: sqlite3.Connection, index: str) -> bool:
    """Whether rows of its table are not in it, or it cannot be read.

    Raises CorruptStore where it knows of rows that its table has lost: to build it anew would forget them.
    """
    query = "SELECT tbl_name FROM sqlite_schema WHERE type = 'index' AND name = ?"
    (table,) = db.execute(query, (index,)).fetchone()
    is_partial = any(name == index and partial for _, name, _, _, partial in _indexes(db, table))
    if is_partial:
        return False
    (n_rows,) = db.execute(f'SELECT count(*) FROM "{table}" NOT INDEXED').fetchone()
    n_entries = _n_entries(db, table, index)
    if n_entries is not None and n_entries > n_rows:
        raise CorruptStore(
            damaged(f"table {table} has {n_rows} rows, its index {index} knows of {n_entries}")
        )
    return n_entries is None or n_entries < n_rows


def _n_entries(db: sqlite3.Connection, table: str, index: str) -> int | None:
    """None where it cannot be read: a damaged page must not pass for one with more entries."""
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA shrink_memory")  # pages are checked when they are read from the file
    query = f'SELECT coalesce(sum(1), 0) FROM "{table}" INDEXED BY "{index}"'
    try:  # count(*) would take any index of the table
        return int(db.execute(query).fetchone()[0])
    except sqlite3.DatabaseError as error:
        if not is_corrupt(error):
            raise
        return None


def _indexes(db: sqlite3.Connection, table: str) -> list[tuple[int, str, int, str, int]]:
    """(number, name, whether unique, origin, whether partial)"""
    return db.execute(f'PRAGMA index_list("{table}")').fetchall()


def _require_whole(db: sqlite3.Connection, *, may_leak: bool) -> bool:
    """With the indexes as they are now. Returns whether there are pages that nothing uses, if there may be.

    Rows that others speak of may be gone without any other fault.
    """
    left = list(faults(db, _ALL if may_leak else 1))
    leaks = may_leak and bool(left) and all(_LEAKED.fullmatch(fault) for fault in left)
    if left and not leaks:
        raise CorruptStore(damaged(f"{left[0]:.200}"))
    for table, row, parent, _ in db.execute("PRAGMA foreign_key_check"):
        raise CorruptStore(damaged(f"row {row} of {table} speaks of a row that {parent} has not"))
    return leaks


def _require_room(file: Path) -> None:
    """To write the database anew takes a copy of it, and its log."""
    wanted, free = 2 * file.stat().st_size, shutil.disk_usage(file.parent).free
    if free < wanted:
        raise StoreFull(f"the repair takes {wanted:,} bytes beside the database, and {free:,} are free")

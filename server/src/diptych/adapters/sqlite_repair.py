"""Build damaged indexes of a database anew, where its tables are whole; knows nothing of what rows mean."""

# ruff: noqa: S608 - only names from the schema are spliced into statements

import sqlite3
from contextlib import closing
from pathlib import Path

from diptych.adapters.refused_writes import sqlite_errors_translated
from diptych.adapters.sqlite_schema import INDEX_FAULT, connect, damaged
from diptych.errors import CorruptStore

_ALL = 2**31 - 1  # faults


def rebuild_indexes(file: Path) -> list[str]:
    """The names of those that were damaged, built anew in one transaction; none of a sound database.

    Raises CorruptStore, with everything as it was, where more than indexes is damaged; StoreError.
    """
    with sqlite_errors_translated(file.parent), closing(connect(file, writes=True)) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            names = _damaged_indexes(db)
            for name in names:
                _require_no_lost_rows(db, name)
                db.execute(f'REINDEX "{name}"')
            _require_whole(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite itself rolls back on some errors
                db.execute("ROLLBACK")
            raise
        return names


def _damaged_indexes(db: sqlite3.Connection) -> list[str]:
    faults = (fault for (fault,) in db.execute(f"PRAGMA integrity_check({_ALL})"))
    return sorted({found[1] for fault in faults if (found := INDEX_FAULT.search(fault))})


def _require_no_lost_rows(db: sqlite3.Connection, index: str) -> None:
    """An index knows of rows that its table has lost: to build it anew would forget them."""
    query = "SELECT tbl_name FROM sqlite_schema WHERE type = 'index' AND name = ?"
    (table,) = db.execute(query, (index,)).fetchone()
    is_partial = any(name == index and partial for _, name, _, _, partial in _indexes(db, table))
    if is_partial:
        return
    (n_rows,) = db.execute(f'SELECT count(*) FROM "{table}" NOT INDEXED').fetchone()
    (n_entries,) = db.execute(f'SELECT count(*) FROM "{table}" INDEXED BY "{index}"').fetchone()
    if n_entries > n_rows:
        raise CorruptStore(
            damaged(f"table {table} has {n_rows} rows, its index {index} knows of {n_entries}")
        )


def _indexes(db: sqlite3.Connection, table: str) -> list[tuple[int, str, int, str, int]]:
    """(number, name, whether unique, origin, whether partial)"""
    return db.execute(f'PRAGMA index_list("{table}")').fetchall()


def _require_whole(db: sqlite3.Connection) -> None:
    """With the indexes as they are now. Rows that others speak of may be gone without any other fault."""
    (fault,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if fault != "ok":
        raise CorruptStore(damaged(fault))
    for table, row, parent, _ in db.execute("PRAGMA foreign_key_check"):
        raise CorruptStore(damaged(f"row {row} of {table} speaks of a row that {parent} has not"))

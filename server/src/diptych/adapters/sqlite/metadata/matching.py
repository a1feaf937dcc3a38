"""Finds the rows whose metadata passes a filter, and ends statements of cancelled calls."""

# ruff: noqa: S608 - only constants of this package are inserted into statements

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from diptych.adapters.sqlite.metadata.filters import ASK_PYTHON, condition_of
from diptych.core.collections.metadata.filters import Filter
from diptych.core.types import Keys

STEPS_BETWEEN_CHECKS = 20_000  # of SQLite's virtual machine, about a millisecond


def matching_keys(
    db: sqlite3.Connection,
    c: int,
    filter: Filter,
    stopped: Callable[[], bool],
    after_key: int = -1,
) -> Keys:
    """The keys above `after_key` of rows whose metadata pass the filter, ascending.

    Ends early with no keys once `stopped` is true.
    """
    condition = condition_of(filter, "metadata", [c, after_key])

    def ask_python(number: int, metadata: str) -> bool:
        return condition.in_python[number].matches(json.loads(metadata))

    with asking_python(db, ask_python, stopped):
        images = "images NOT INDEXED" if after_key < 0 and is_scan_faster(db, c) else "images"
        query = (
            f"SELECT key FROM {images} WHERE collection = ?1 AND key > ?2 AND {condition.sql} ORDER BY key"
        )
        return np.array([key for (key,) in db.execute(query, condition.parameters)], dtype=np.int64)
    return np.empty(0, np.int64)


def is_scan_faster(db: sqlite3.Connection, c: int) -> bool:
    """Whether a full table scan is faster than looking up each row of the collection in an index."""
    (n_rows,) = db.execute("SELECT count(*) FROM images WHERE collection = ?", (c,)).fetchone()
    (last_key,) = db.execute("SELECT coalesce(max(key), 0) FROM images").fetchone()
    return bool(4 * n_rows >= last_key)


@contextmanager
def asking_python(
    db: sqlite3.Connection, ask: Callable[[int, str], Any], stopped: Callable[[], bool]
) -> Iterator[None]:
    """As `stoppable`; in the block, statements can call `ask` by the name ASK_PYTHON."""

    def ask_unless_stopped(number: int, metadata: str) -> Any:
        if stopped():
            raise InterruptedError
        return ask(number, metadata)

    db.create_function(ASK_PYTHON, 2, ask_unless_stopped, deterministic=True)
    try:
        with stoppable(db, stopped):
            yield
    finally:
        db.create_function(ASK_PYTHON, 2, None)


@contextmanager
def stoppable(db: sqlite3.Connection, stopped: Callable[[], bool]) -> Iterator[None]:
    """End statements once `stopped` is true, and then the block."""
    db.set_progress_handler(stopped, STEPS_BETWEEN_CHECKS)
    try:
        yield
    except sqlite3.OperationalError:
        if not stopped():
            raise
    finally:
        db.set_progress_handler(None, 0)

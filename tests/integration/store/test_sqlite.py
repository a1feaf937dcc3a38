import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.files import data_lock
from diptych.adapters.sqlite import threads
from diptych.adapters.sqlite.schema import VERSION
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.adapters.sqlite.vector_rows import VECTORS_SINCE
from diptych.errors import StoreError


def run(store: SqliteStore, *stories: Any) -> Any:
    async def whole() -> Any:
        try:
            return [await story for story in stories][-1]
        finally:
            await store.close()

    return asyncio.run(whole())


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)

    def pragmas(db: sqlite3.Connection) -> list[Any]:
        return [
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete")
        ]

    assert run(store, store.threads.write(pragmas)) == ["wal", 2, 1]  # 2 is FULL


def test_folder_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    run(SqliteStore(tmp_path), asyncio.sleep(0))
    db = sqlite3.connect(tmp_path / DATABASE)
    with db:
        db.execute("INSERT INTO schema_version VALUES (?, 'then')", (VERSION + 1,))
    db.close()
    with pytest.raises(StoreError, match=f"has schema {VERSION + 1}, this version knows up to {VERSION}"):
        SqliteStore(tmp_path)
    with pytest.raises(StoreError, match="has schema"):  # and the failed try let go of the lock
        SqliteStore(tmp_path)


def test_chunks_of_embeddings_are_read_in_their_order_and_never_sorted(tmp_path: Path) -> None:
    asyncio.run(SqliteStore(tmp_path).close())
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        plan = db.execute(f"EXPLAIN QUERY PLAN {VECTORS_SINCE}", (1, 1, 0, 0, 10)).fetchall()
    assert plan
    assert not [step for *_, step in plan if "TEMP B-TREE" in step or "SCAN" in step]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="macOS reads ahead by itself")
@pytest.mark.parametrize(("memory", "read"), [(10**9, True), (None, True), (20_000, False)])
def test_start_reads_the_database_ahead_if_it_fits_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int | None, read: bool
) -> None:
    run(SqliteStore(tmp_path), asyncio.sleep(0))
    n_bytes, asked = (tmp_path / DATABASE).stat().st_size, set[int]()
    assert n_bytes > 20_000
    monkeypatch.setattr(threads, "READ_AHEAD_BYTES", 10_000)
    monkeypatch.setattr(threads, "available_memory", lambda: memory)
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, n, __: asked.update(range(start, start + n)))
    run(SqliteStore(tmp_path), asyncio.sleep(0))
    assert asked >= {*range(n_bytes)} if read else not asked


def test_names_of_new_data_folders_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(data_lock, "fsync_folder", synced.append)
    for _ in range(2):
        data_lock.DataLock(tmp_path / "new" / "data").close()
    assert sorted(synced) == [tmp_path, tmp_path / "new"]

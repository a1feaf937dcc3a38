import asyncio
import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from diptych.adapters.files import data_lock
from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.quota import Quota
from diptych.adapters.sqlite.jobs import SqliteJobs
from diptych.adapters.sqlite.rollouts import SqliteRollouts
from diptych.adapters.sqlite.schema import VERSION
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.adapters.sqlite.vector_rows import VECTORS_SINCE
from diptych.core.job import Job, JobItem
from diptych.core.rollout.types import Rollout, ServedVersions
from diptych.core.types import Target, VersionRef
from diptych.errors import CorruptStore, DataDirLocked, StoreError, StoreFull
from integration.data_folders import created
from integration.store_contract import row

HOLD = """
import sys, pathlib
from diptych.adapters.files.data_lock import DataLock
DataLock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def run(store: SqliteStore, *stories: Any) -> Any:
    async def whole() -> Any:
        try:
            return [await story for story in stories][-1]
        finally:
            await store.close()

    return asyncio.run(whole())


def named(pid: int) -> str:
    """What is said of a process that holds a folder: which it is, where, and since when."""
    host = re.escape(gethostname())
    return rf"in use by process {pid} on {host} since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"


def test_folder_in_use_is_refused_and_its_holder_named(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataDirLocked, match=named(holder.pid)):
            SqliteStore(tmp_path)
        holder.kill()
    run(SqliteStore(tmp_path), asyncio.sleep(0))  # a killed holder holds nothing


def test_second_store_of_the_same_process_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with pytest.raises(DataDirLocked, match=named(os.getpid())):
        SqliteStore(tmp_path)
    run(store, asyncio.sleep(0))
    run(SqliteStore(tmp_path), asyncio.sleep(0))


def test_holder_that_says_less_or_nothing_is_one_nevertheless(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    for content, said in (("123\n", "in use by process 123$"), ("", "in use by process unknown$")):
        (tmp_path / "lock").write_text(content)  # of an earlier version, or on a disk that was full
        with pytest.raises(DataDirLocked, match=said):
            DataLock(tmp_path)
    lock.close()
    lock.close()
    DataLock(tmp_path).close()


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


def test_what_serves_is_known_before_there_is_an_event_loop(tmp_path: Path) -> None:
    one, two = (Target(VersionRef("m", n, f"{n}" * 64), "fp32", "exact") for n in (1, 2))
    store = SqliteStore(tmp_path)
    rollouts = SqliteRollouts(store.threads)
    assert rollouts.served_now() is None
    run(store, rollouts.switch(ServedVersions(two, one, "fp16"), {}, Rollout.new(two).ended("active")))
    store = SqliteStore(tmp_path)
    assert SqliteRollouts(store.threads).served_now() == ServedVersions(two, one, "fp16")
    run(store, asyncio.sleep(0))


def test_file_that_is_no_database_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"no database" * 1000)
    with pytest.raises(CorruptStore):
        SqliteStore(tmp_path)


def test_job_ends_beyond_the_quota(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, Quota(200_000))
    jobs = SqliteJobs(store.threads)

    async def story() -> None:
        c = await created(store)
        await jobs.create(Job("job", "c", False, "queued", 1, "now"), [JobItem(0, 0, 0)])
        with pytest.raises(StoreFull):
            for n in range(1_000):
                await store.writer.put(
                    c, [row(f"i{n}", metadata={"x": "y" * 100})], identity="i", replace=False
                )
        await jobs.finish("job", "cancelled", "x" * 20_000)  # more than a page
        found = await jobs.find("job")
        assert found is not None
        assert found.state == "cancelled"

    run(store, story())


def test_chunks_of_embeddings_are_read_in_their_order_and_never_sorted(tmp_path: Path) -> None:
    asyncio.run(SqliteStore(tmp_path).close())
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        plan = db.execute(f"EXPLAIN QUERY PLAN {VECTORS_SINCE}", (1, 1, 0, 0, 10)).fetchall()
    assert plan
    assert not [step for *_, step in plan if "TEMP B-TREE" in step or "SCAN" in step]


def test_error_of_the_database_module_itself_is_a_store_error(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)

    def misuse(db: sqlite3.Connection) -> None:
        db.execute("SELECT ?", ())

    async def story() -> None:
        with pytest.raises(StoreError, match="the database failed"):
            await store.threads.read(misuse)

    run(store, story())


def test_names_of_new_data_folders_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(data_lock, "fsync_folder", synced.append)
    for _ in range(2):
        data_lock.DataLock(tmp_path / "new" / "data").close()
    assert sorted(synced) == [tmp_path, tmp_path / "new"]

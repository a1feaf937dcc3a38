import asyncio
import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from socket import gethostname
from typing import Any

import numpy as np
import pytest

from diptych.adapters.files import data_lock
from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.quota import Quota
from diptych.adapters.sqlite.jobs import SqliteJobs
from diptych.adapters.sqlite.rows import EMBEDDINGS_AFTER
from diptych.adapters.sqlite.schema import VERSION
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.core.job import Job, JobItem, JobOutcome
from diptych.core.types import NewRow
from diptych.errors import Conflict, CorruptStore, DataDirLocked, NotFound, StoreError, StoreFull
from integration.data_folders import created

HOLD = """
import sys, pathlib
from diptych.adapters.files.data_lock import DataLock
DataLock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def row(id: str, content: str = "", metadata: Any = None) -> NewRow:
    embedding = np.random.default_rng(len(id)).standard_normal(4).astype(np.float32)
    return NewRow(id, (content or id).ljust(64, "0"), 3, "image/png", 4, 5, metadata, embedding)


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


def test_file_that_is_no_database_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"no database" * 1000)
    with pytest.raises(CorruptStore):
        SqliteStore(tmp_path)


def test_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)

    async def story() -> None:
        c = await created(store)
        bad = row("b")
        object.__setattr__(bad, "n_bytes", 1.5)  # which the table takes no more than the type does
        with pytest.raises(StoreError):
            await store.put(c, [row("a"), bad], identity="i", replace=False)
        assert await store.page(c, None, 10) == []
        with pytest.raises(Conflict):
            await created(store)
        (result,) = await store.put(c, [row("a")], identity="i", replace=False)
        assert result.status == "created"
        with pytest.raises(NotFound):
            await store.put(c + 1, [row("a")], identity="i", replace=False)

    run(store, story())


def test_row_that_is_there_has_an_embedding_of_each_identity_that_it_was_added_under(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)

    async def story() -> None:
        c = await created(store)
        await store.put(c, [row("a")], identity="one", replace=False)
        (again,) = await store.put(c, [row("a")], identity="two", replace=False)
        assert again.status == "unchanged"
        assert await store.missing(c, "two") == {}
        assert await store.embedding(c, "a", "two") == pytest.approx(row("a").embedding)

    run(store, story())


def test_rows_and_their_job_outcomes_are_one_commit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    jobs = SqliteJobs(store.threads)

    async def put(c: int, id: str) -> None:
        number = 0 if id == "a" else 1
        await store.put(
            c,
            [row(id)],
            identity="i",
            replace=False,
            job_outcomes=lambda results: {"job": [JobOutcome(number, id, results[0].status)]},  # type: ignore[arg-type]
        )

    async def story() -> None:
        c = await created(store)
        await jobs.create(Job("job", "c", False, "queued", 2, "now"), [JobItem(n, 0, 0) for n in range(2)])
        await put(c, "a")
        assert await jobs.outcomes("job", -1, 9) == [JobOutcome(0, "a", "created")]
        await put(c, "a")  # unchanged now, which is no news
        await jobs.finish("job", "cancelled", "")
        with pytest.raises(NotFound, match="job 'job' has ended"):
            await put(c, "b")
        assert [record.id for record in await store.page(c, None, 9)] == ["a"]
        assert await jobs.outcomes("job", -1, 9) == [JobOutcome(0, "a", "created")]

    run(store, story())


def test_job_ends_beyond_the_quota(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, Quota(200_000))
    jobs = SqliteJobs(store.threads)

    async def story() -> None:
        c = await created(store)
        await jobs.create(Job("job", "c", False, "queued", 1, "now"), [JobItem(0, 0, 0)])
        with pytest.raises(StoreFull):
            for n in range(1_000):
                await store.put(c, [row(f"i{n}", metadata={"x": "y" * 100})], identity="i", replace=False)
        await jobs.finish("job", "cancelled", "x" * 20_000)  # more than a page
        found = await jobs.find("job")
        assert found is not None
        assert found.state == "cancelled"

    run(store, story())


def test_keys_are_never_used_twice(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)

    async def story() -> None:
        c = await created(store)
        (first,) = await store.put(c, [row("a")], identity="i", replace=False)
        await store.delete(c, "a")
        (second,) = await store.put(c, [row("a")], identity="i", replace=False)
        assert second.key > first.key

    run(store, story())


def test_embeddings_are_kept_apart_by_identity(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)

    async def story() -> None:
        c = await created(store)
        results = await store.put(c, [row("a"), row("bb")], identity="one", replace=False)
        keys = [result.key for result in results]
        assert await store.missing(c, "one") == {}
        assert await store.missing(c, "two") == dict.fromkeys(keys, True)
        other = np.eye(2, 6, dtype=np.float32)
        assert await store.put_embeddings(c, [keys[0], 999], other, "two") == [keys[0]]
        assert await store.missing(c, "two") == dict.fromkeys(keys[1:], True)
        chunks = [chunk async for chunk in store.embeddings(c, "two")]
        assert [(keys, rows.tolist(), damaged) for keys, rows, damaged in chunks] == [
            ([keys[0]], [other[0].tolist()], [])
        ]
        assert await store.embedding(c, "a", "one") == pytest.approx(row("a").embedding)
        assert await store.embedding(c, "bb", "two") is None
        assert await store.embedding(c, "bb", "never") is None
        assert [chunk async for chunk in store.embeddings(c, "never")] == []

    run(store, story())


def test_chunks_of_embeddings_are_read_in_their_order_and_never_sorted(tmp_path: Path) -> None:
    asyncio.run(SqliteStore(tmp_path).close())
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        plan = db.execute(f"EXPLAIN QUERY PLAN {EMBEDDINGS_AFTER}", (1, 1, 0, 10)).fetchall()
    assert plan
    assert not [step for *_, step in plan if "TEMP B-TREE" in step or "SCAN" in step]


def test_content_is_released_with_its_last_row(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)

    async def story() -> None:
        c, d = await created(store, "c"), await created(store, "d")
        shared = row("a", "f00")
        await store.put(c, [shared, row("b", "f00"), row("x", "f11")], identity="i", replace=False)
        await store.put(d, [shared], identity="i", replace=False)
        (replaced,) = await store.put(c, [row("x", "f22")], identity="i", replace=True)
        assert replaced.released == "f11".ljust(64, "0")
        assert (await store.delete(c, "a")).released == ()
        assert (await store.drop_collection(c)).released == ("f22".ljust(64, "0"),)
        assert await store.used_files([shared.sha256, "0" * 64]) == {shared.sha256}
        assert (await store.delete(d, "a")).released == (shared.sha256,)

    run(store, story())


def test_abandoned_scan_of_the_metadata_ends_early(tmp_path: Path) -> None:
    store, entered, gate = SqliteStore(tmp_path), threading.Event(), threading.Event()
    seen: list[int] = []

    class Waiting:
        def matches(self, metadata: dict[str, Any]) -> bool:
            seen.append(metadata["n"])
            entered.set()
            return gate.wait(10)

    async def story() -> None:
        c = await created(store)
        rows = [row(f"i{n}", metadata={"n": n}) for n in range(50)]
        await store.put(c, rows, identity="i", replace=False)
        scan = asyncio.create_task(store.matching_keys(c, Waiting()))
        await asyncio.to_thread(entered.wait)
        scan.cancel()
        await asyncio.wait([scan])
        gate.set()

    run(store, story())
    assert len(seen) == 1


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

"""The store in PostgreSQL: whose database it is, what is tried again, and what is never acknowledged."""

import asyncio
import os
import socket
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from diptych.adapters.backup.data_folder import DataFolder
from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.database_id import DATABASE_ID
from diptych.adapters.files.quota import Quota
from diptych.adapters.postgres import retries, threads
from diptych.adapters.postgres.connection import PostgresConnection
from diptych.adapters.postgres.store import PostgresStore
from diptych.adapters.postgres.threads import PostgresThreads
from diptych.adapters.sqlite.schema import VERSION
from diptych.adapters.sqlite.store import SqliteStore
from diptych.errors import ConfigError, CorruptStore, DataDirLocked, StoreError, StoreUnavailable
from diptych.settings import Settings
from diptych.wiring.store import open_store
from integration.store_contract import REF, row
from support.postgres import Cluster


class KnownFolder:
    """A data folder that has its id."""

    originals_name = "the folder"

    def known(self) -> str:
        return "the folder"

    def keep(self, id: str) -> None:
        assert id == self.known()


FOLDER = KnownFolder()
WITHOUT_DRAWN = 13  # the schema before verdicts said whether their picture was drawn
ADD = "INSERT INTO identities (identity) VALUES (?)"
END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'diptych%'"


@pytest.fixture
def url(postgres_cluster: Cluster) -> str:
    return postgres_cluster.url()


@pytest.fixture
def opened(url: str) -> Iterator[PostgresThreads]:
    with closing(PostgresThreads(url, FOLDER)) as one:
        yield one


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


async def names(opened: PostgresThreads) -> list[str]:
    query = "SELECT identity FROM identities ORDER BY number"
    return [name for (name,) in await opened.read(lambda db: db.execute(query).fetchall())]


def adds(name: str) -> Callable[[PostgresConnection], None]:
    def work(db: PostgresConnection) -> None:
        db.execute(ADD, (name,))

    return work


def require_standby(cluster: Cluster, name: str) -> None:
    cluster.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    cluster.execute("SELECT pg_reload_conf()")


def test_second_server_is_refused_and_the_first_one_named(
    url: str, opened: PostgresThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "LOCK_WAIT_S", 0.1)
    secret = url.replace("@", ":s3cret@")
    with pytest.raises(
        DataDirLocked,
        match=r"the database postgres on /tmp/pg.* is in use by another server \(diptych, since ",
    ) as refused:
        PostgresThreads(secret, FOLDER)
    assert "s3cret" not in str(refused.value)
    opened.close()
    PostgresThreads(url, FOLDER).close()


def test_start_without_a_database_says_which_one_and_why(tmp_path: Path) -> None:
    with pytest.raises(
        StoreUnavailable, match=f"the database d on {tmp_path} cannot be reached: "
    ) as refused:
        PostgresThreads(f"postgresql://u:s3cret@/d?host={tmp_path}", FOLDER)
    assert "s3cret" not in str(refused.value)


def test_tables_of_an_earlier_release_are_converted_and_those_of_a_later_one_refused(url: str) -> None:
    PostgresThreads(url, FOLDER).close()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("ALTER TABLE verdicts DROP COLUMN drawn")
        db.execute("ALTER TABLE verdicts DROP COLUMN before")
        db.execute("ALTER TABLE rollouts DROP COLUMN despite_labels")
        db.execute("DROP TABLE library_files, library_deleted")
        db.execute("UPDATE schema_version SET version = %s", (WITHOUT_DRAWN,))
        PostgresThreads(url, FOLDER).close()
        query = "SELECT version FROM schema_version ORDER BY version"
        assert [version for (version,) in db.execute(query)] == [WITHOUT_DRAWN, VERSION]
        assert db.execute("SELECT drawn FROM verdicts").fetchall() == []
        assert db.execute("SELECT despite_labels FROM rollouts").fetchall() == []
        db.execute("INSERT INTO schema_version VALUES (%s, '')", (VERSION + 1,))
    with pytest.raises(StoreError, match=f"schema {VERSION + 1}, this version knows up to {VERSION}"):
        PostgresThreads(url, FOLDER)


def test_database_whose_writes_have_no_numbers_yet_gets_them(url: str) -> None:
    PostgresThreads(url, FOLDER).close()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP TABLE writes, changes, last_write")
        db.execute("CREATE TABLE last_write (folder TEXT NOT NULL, server TEXT NOT NULL, id TEXT NOT NULL)")
        db.execute("INSERT INTO last_write VALUES (%s, 'a server', 'a write')", (FOLDER.known(),))
    for name in ("a", "b"):
        with closing(PostgresThreads(url, FOLDER)) as opened:
            asyncio.run(opened.write(adds(name)))
            assert asyncio.run(names(opened))[-1] == name


def test_database_and_folder_know_each_other(url: str, postgres_cluster: Cluster, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    PostgresStore(url, first).close_now()
    with pytest.raises(ConfigError, match=f"the database and data folder {second} do not belong together"):
        PostgresStore(url, second)
    with pytest.raises(CorruptStore, match="the database is empty"):
        PostgresStore(postgres_cluster.url(), first, is_used=True)
    PostgresStore(url, first, is_used=True).close_now()


def test_no_folder_is_served_with_another_store_than_its_own(url: str, tmp_path: Path) -> None:
    own, elsewhere = tmp_path / "own", tmp_path / "elsewhere"
    SqliteStore(own).close_now()
    settings = Settings(store=url, data_dir=own)  # type: ignore[arg-type]
    with (
        closing(DataLock(own)) as lock,
        pytest.raises(ConfigError, match=r"a database of its own, diptych.sqlite3"),
    ):
        open_store(settings, Quota(), lock)
    PostgresStore(url, elsewhere).close_now()
    with closing(DataLock(elsewhere)) as lock, pytest.raises(ConfigError, match="DIPTYCH_STORE"):
        open_store(Settings(data_dir=elsewhere), Quota(), lock)
    with pytest.raises(ConfigError, match=r"are in PostgreSQL .* a copy of the originals"):
        DataFolder(elsewhere).snapshot()
    assert (elsewhere / DATABASE_ID).exists()


def test_database_of_another_encoding_is_refused(url: str, postgres_cluster: Cluster) -> None:
    postgres_cluster.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1")
    try:
        with pytest.raises(ConfigError, match=r"encoding LATIN1, .* --encoding=UTF8"):
            PostgresThreads(url.replace("/postgres?", "/latin?"), FOLDER)
    finally:
        postgres_cluster.execute("DROP DATABASE latin")


def test_texts_are_sent_in_utf8_whatever_the_url_says(url: str) -> None:
    with closing(PostgresThreads(f"{url}&client_encoding=LATIN1", FOLDER)) as opened:
        asyncio.run(opened.write(adds("\u6771\u4eac")))
        assert asyncio.run(names(opened)) == ["\u6771\u4eac"]


def test_missing_schema_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match=r"no schema of search_path 'nowhere' exists .* CREATE SCHEMA"):
        PostgresThreads(
            url.replace("search_path%3D", "search_path%3Dnowhere%20-capplication_name%3D"), FOLDER
        )


@pytest.mark.parametrize(
    "url",
    ["u:12/s3cret@h/d", "u:s3cret/x@h/d", "u:a@s3cret@h/d", "u:%zzs3cret@h/d", "h/d?s3cret=1", "h:s3cret/d"],
)
def test_malformed_url_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ConfigError, match="DIPTYCH_STORE is malformed") as refused:
        PostgresThreads(f"postgresql://{url}", FOLDER)
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


def test_work_whose_connection_is_lost_before_the_commit_is_done_again(
    opened: PostgresThreads, postgres_cluster: Cluster
) -> None:
    n_runs = 0

    def work(db: PostgresConnection) -> int:
        nonlocal n_runs
        n_runs += 1
        db.execute(ADD, ("a",))
        if n_runs == 1:
            postgres_cluster.execute(END_ALL)
        return n_runs

    async def story() -> None:
        assert await opened.write(work) == 2
        assert await names(opened) == ["a"]
        postgres_cluster.execute(END_ALL)  # readers too
        assert await names(opened) == ["a"]

    run(story())


@pytest.mark.parametrize(("takes_place", "expected_runs"), [(True, 1), (False, 2)])
def test_commit_without_an_answer_is_found_out(
    opened: PostgresThreads, monkeypatch: pytest.MonkeyPatch, takes_place: bool, expected_runs: int
) -> None:
    """However long the outage lasts: a row that is stored and not in the index would not be found."""
    monkeypatch.setattr(retries, "RETRY_S", 0.0)
    n_runs = 0

    def work(db: PostgresConnection) -> int:
        nonlocal n_runs
        n_runs += 1
        db.execute(ADD, (f"run {n_runs}",))
        if n_runs == 1:
            execute = db.execute

            def lost(statement: str, parameters: Any = ()) -> Any:
                if statement == "COMMIT":
                    if takes_place:
                        execute(statement)
                    db.raw.close()
                    raise psycopg.OperationalError("the connection was lost")
                return execute(statement, parameters)

            db.execute = lost  # type: ignore[method-assign]
        return n_runs

    async def story() -> None:
        assert await opened.write(work) == expected_runs
        assert await names(opened) == [f"run {expected_runs}"]
        await opened.write(adds("next"))
        assert await names(opened) == [f"run {expected_runs}", "next"]

    run(story())


@pytest.mark.parametrize("ends", ["pg_cancel_backend", "pg_terminate_backend"])
def test_commit_whose_wait_for_a_standby_is_ended_is_not_acknowledged_without_it(
    opened: PostgresThreads, postgres_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr(threads, "LOCK_WAIT_S", 0.1)
    n_runs = 0
    waiting = "pg_stat_activity WHERE wait_event = 'SyncRep' AND xact_start >"

    def work(db: PostgresConnection) -> None:
        nonlocal n_runs
        n_runs += 1
        db.execute(ADD, ("a",))

    async def story() -> None:
        since = "-infinity"
        writing = asyncio.ensure_future(opened.write(work))
        for _ in range(2):
            while not (
                found := postgres_cluster.execute(f"SELECT xact_start::text FROM {waiting} '{since}'")
            ):
                assert not writing.done()
                await asyncio.sleep(0.01)
            postgres_cluster.execute(f"SELECT {ends}(pid) FROM {waiting} '{since}'")
            ((since,),) = found
        require_standby(postgres_cluster, "")
        await writing
        assert (await names(opened), n_runs) == (["a"], 1)
        await opened.write(adds("b"))
        opened.require_writable()

    require_standby(postgres_cluster, "nobody")
    try:
        run(story())
    finally:
        require_standby(postgres_cluster, "")


def test_lock_of_a_lost_session_that_waits_for_a_standby_is_waited_for(
    opened: PostgresThreads, postgres_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "LOCK_WAIT_S", 0.1)
    sockets = list[socket.socket]()

    def work(db: PostgresConnection) -> None:
        sockets.append(socket.socket(fileno=os.dup(db.raw.fileno())))
        db.execute(ADD, ("a",))

    async def story() -> None:
        writing = asyncio.ensure_future(opened.write(work))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        while not postgres_cluster.execute(waiting):
            assert not (await asyncio.wait([writing], timeout=0.01))[0]
        sockets[0].shutdown(socket.SHUT_RDWR)
        await asyncio.wait([writing], timeout=0.5)
        assert not writing.done()
        require_standby(postgres_cluster, "")
        await writing
        assert (await names(opened), len(sockets)) == (["a"], 1)

    require_standby(postgres_cluster, "nobody")
    try:
        run(story())
    finally:
        require_standby(postgres_cluster, "")
        for one in sockets:
            one.close()


@pytest.mark.parametrize(
    "failing",
    ["SELECT pg_terminate_backend(pg_backend_pid())", "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"],
)
def test_work_that_always_fails_ends_while_other_work_succeeds(
    opened: PostgresThreads, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    monkeypatch.setattr(retries, "RETRY_S", 0.2)
    n_runs = 0

    def work(db: PostgresConnection) -> None:
        nonlocal n_runs
        n_runs += 1
        assert n_runs < 20, "it is tried again without end"
        opened.read_now(lambda other: other.execute("SELECT 1").fetchone())
        db.execute(failing)

    async def story() -> None:
        with pytest.raises(StoreUnavailable):
            await opened.write(work)
        assert n_runs > 1
        await opened.write(adds("a"))

    run(story())


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("lock_timeout", "another session holds a lock"),
        ("statement_timeout", "statement timeout; .* such as statement_timeout"),
    ],
)
def test_waits_that_the_database_ends_are_named_and_not_repeated(
    url: str, option: str, expected: str
) -> None:
    n_runs = 0

    def work(db: PostgresConnection) -> None:
        nonlocal n_runs
        n_runs += 1
        db.execute(ADD, ("a",))

    with (
        closing(PostgresThreads(f"{url}%20-c{option}%3D400ms", FOLDER)) as opened,
        psycopg.connect(url) as other,
    ):
        other.execute("LOCK TABLE identities")
        with pytest.raises(StoreUnavailable, match=expected):
            asyncio.run(opened.write(work))
        assert n_runs == 1
        other.rollback()
        asyncio.run(opened.write(work))


def test_server_that_lost_the_lock_to_another_one_writes_no_more(
    url: str, opened: PostgresThreads, postgres_cluster: Cluster
) -> None:
    async def story() -> None:
        await opened.write(adds("a"))
        postgres_cluster.execute(END_ALL)
        with closing(PostgresThreads(url, FOLDER)) as other:
            await other.write(adds("b"))
        with pytest.raises(StoreUnavailable, match="another server has used the database"):
            await opened.write(adds("c"))
        with pytest.raises(StoreUnavailable, match="another server has used the database"):
            opened.require_writable()
        assert await names(opened) == ["a", "b"]

    run(story())


def test_database_that_lost_acknowledged_writes_takes_no_more(
    url: str, opened: PostgresThreads, caplog: pytest.LogCaptureFixture
) -> None:
    """As a standby that lagged when it took over."""

    async def story() -> None:
        await opened.write(adds("a"))
        (before,) = await opened.read(lambda db: db.execute("SELECT id FROM last_write").fetchone())
        await opened.write(adds("b"))
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("UPDATE last_write SET id = %s", (before,))
        with pytest.raises(StoreUnavailable, match="has lost writes that were acknowledged"):
            opened.require_writable()
        with pytest.raises(StoreUnavailable, match="has lost writes that were acknowledged"):
            await opened.write(adds("c"))

    run(story())
    assert [one.levelname for one in caplog.records if "has lost writes" in one.message] == ["ERROR"]


def test_outage_is_waited_for_and_then_told_at_once(
    opened: PostgresThreads,
    postgres_cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "diptych.store")

    async def story() -> None:
        await opened.write(adds("a"))
        assert await names(opened) == ["a"]
        postgres_cluster.stop()
        waiting = asyncio.gather(opened.write(adds("b")), names(opened))
        try:
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                opened.require_writable()
        finally:
            postgres_cluster.start()
        await waiting
        assert await names(opened) == ["a", "b"]
        opened.require_writable()
        monkeypatch.setattr(retries, "RETRY_S", 0.0)
        postgres_cluster.stop()
        try:
            for refused in (opened.write(adds("c")), names(opened)):
                with pytest.raises(StoreUnavailable, match="cannot be reached"):
                    await refused
        finally:
            postgres_cluster.start()
        await opened.write(adds("d"))
        assert await names(opened) == ["a", "b", "d"]

    run(story())
    assert [one.levelname for one in caplog.records] == 2 * ["WARNING", "INFO"]


def test_tables_that_are_gone_while_a_dump_is_restored_are_an_outage(
    url: str,
    opened: PostgresThreads,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "diptych.store")
    monkeypatch.setattr(retries, "RETRY_S", 0.0)

    async def story() -> None:
        await opened.write(adds("a"))
        with psycopg.connect(url, autocommit=True) as db:
            (schema,) = db.execute("SELECT current_schema()").fetchone() or ("",)
            db.execute(f"ALTER SCHEMA {schema} RENAME TO away")
            await require_gone()
            db.execute(f"CREATE SCHEMA {schema}")
            db.execute(f"CREATE TABLE {schema}.last_write AS SELECT * FROM away.last_write LIMIT 0")
            await require_gone()
            db.execute(f"DROP SCHEMA {schema} CASCADE")
            db.execute(f"ALTER SCHEMA away RENAME TO {schema}")
        await opened.write(adds("b"))
        opened.require_writable()
        assert await names(opened) == ["a", "b"]

    async def require_gone() -> None:
        for work in (opened.write(adds("c")), names(opened)):
            with pytest.raises(StoreUnavailable, match="tables of the database are gone, as while a dump"):
                await work
        for look in (opened.require_writable, opened.n_bytes):  # the latter reads no table of ours
            with pytest.raises(StoreUnavailable, match="tables of the database are gone"):
                look()

    run(story())
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"]


def test_folder_without_its_originals_is_refused(url: str, tmp_path: Path) -> None:
    async def fill() -> None:
        store = PostgresStore(url, tmp_path)
        c = (await store.catalogue.create("c", "original", "one", REF)).number
        await store.writer.put(c, [row("a")], identity="one", replace=False)
        await store.close()

    run(fill())
    settings = Settings(store=url, data_dir=tmp_path)  # type: ignore[arg-type]
    with closing(DataLock(tmp_path)) as lock, pytest.raises(CorruptStore, match="knows of originals"):
        open_store(settings, Quota(), lock)


def test_without_psycopg_the_start_says_what_to_install(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    settings = Settings(store=url, data_dir=tmp_path)  # type: ignore[arg-type]
    with closing(DataLock(tmp_path)) as lock, pytest.raises(ConfigError, match=r"server\[postgres\]"):
        open_store(settings, Quota(), lock)


def test_each_collection_and_identity_has_a_table_of_vectors_as_long_as_it_is_needed(
    url: str, postgres_cluster: Cluster, tmp_path: Path
) -> None:
    schema = url.rpartition("%3D")[2]

    def tables() -> set[str]:
        query = f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}' AND tablename ~ '_[0-9]'"
        return {name for (name,) in postgres_cluster.execute(query)}

    def storage(table: str) -> str:
        relation = f"attrelid = '{schema}.{table}'::regclass"
        query = f"SELECT attstorage FROM pg_attribute WHERE {relation} AND attname = 'embedding'"
        ((found,),) = postgres_cluster.execute(query)
        return str(found)

    async def story() -> None:
        store = PostgresStore(url, tmp_path)
        try:
            c = (await store.catalogue.create("c", "original", "one", REF)).number
            written = await store.writer.put(c, [row("a")], identity="one", replace=False)
            (key,) = [one.key for one in written.results]
            long = np.ones((1, 2_048), np.float32)
            await store.vectors.put(c, [key], long, "two")
            assert tables() == {"words_1", "vectors_1_1", "vectors_1_2"}
            assert (storage("vectors_1_1"), storage("vectors_1_2")) == ("p", "e")
            found = await store.vectors.find(c, "a", "two")
            assert found is not None
            assert np.array_equal(found, long[0])
            assert (await store.vectors.forget(c, 9, keep=["two"]), await store.vectors.forget(c, 9)) == (
                0,
                1,
            )
            assert tables() == {"words_1", "vectors_1_1"}
            await store.vectors.put(c, [key], long, "two")  # it is made again
            await store.catalogue.drop(c)
            await store.catalogue.clear(c, 9)
            assert tables() == set()
        finally:
            await store.close()

    run(story())


def test_vectors_that_another_session_reads_are_dropped_later(
    url: str, postgres_cluster: Cluster, tmp_path: Path
) -> None:
    """As pg_dump does: it holds locks of all tables for as long as it runs."""
    schema = url.rpartition("%3D")[2]

    def tables() -> set[str]:
        query = f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}' AND tablename ~ '_[0-9]'"
        return {name for (name,) in postgres_cluster.execute(query)}

    async def story() -> None:
        store = PostgresStore(url, tmp_path)
        c = (await store.catalogue.create("c", "original", "one", REF)).number
        await store.writer.put(c, [row("a")], identity="one", replace=False)
        (key,) = await store.rows.keys(c, ["a"])
        await store.vectors.put(c, [key], np.ones((1, 8), np.float32), "two")
        with psycopg.connect(url) as other:
            for table in ("vectors_1_1", "vectors_1_2", "words_1"):
                other.execute(f"SELECT FROM {table}")
            assert await store.vectors.forget(c, 9) == 0
            await store.catalogue.drop(c)
            await store.catalogue.clear(c, 9)
            assert await store.catalogue.dropped() == []
            assert tables() == {"vectors_1_1", "vectors_1_2", "words_1"}
        await store.close()
        await PostgresStore(url, tmp_path).close()
        assert tables() == set()

    run(story())

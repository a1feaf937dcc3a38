"""Stores of several servers in one PostgreSQL database: what each learns of the writes of the others."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest

from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.database_id import DATABASE_ID
from diptych.adapters.files.quota import Quota
from diptych.adapters.postgres import threads, writes
from diptych.adapters.postgres.store import PostgresStore
from diptych.adapters.sqlite.rollouts import SqlRollouts
from diptych.core.collections.metadata.filters import Eq
from diptych.core.collections.stored.collection import PairChanged
from diptych.core.collections.stored.peers import News
from diptych.core.rollout.ports import SwitchRefused, of_rollout
from diptych.core.rollout.types import CollectionMove, Rollout, ServedVersions
from diptych.core.types import Target
from diptych.errors import ConfigError, Conflict, DataDirLocked, StoreReadOnly, StoreUnavailable
from diptych.settings import Settings
from diptych.wiring.store import open_store
from integration.store_contract import REF, row
from support.postgres import Cluster

TARGET = Target(REF, "fp32", "exact")
END_WRITER = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND pid = {}"
)

Story = Callable[[PostgresStore, PostgresStore], Awaitable[None]]
Run = Callable[[Story], None]


@pytest.fixture
def url(postgres_cluster: Cluster) -> str:
    return postgres_cluster.url()


@pytest.fixture
def run(url: str, tmp_path: Path) -> Run:
    def run_story(story: Story) -> None:
        async def whole() -> None:
            one, other = (opened(url, tmp_path, name) for name in ("one", "other"))
            try:
                await story(one, other)
            finally:
                await one.close()
                await other.close()

        asyncio.run(whole())

    return run_story


def opened(url: str, folder: Path, name: str) -> PostgresStore:
    (folder / "originals").mkdir(exist_ok=True)
    return PostgresStore(url, folder / name, name=f"diptych {name}:8000", originals=folder / "originals")


def opened_read_only(url: str, folder: Path) -> PostgresStore:
    return PostgresStore(url, folder / "reader", originals=folder / "originals", reads_only=True)


async def created(store: PostgresStore) -> int:
    return (await store.catalogue.create("c", "original", "i", REF)).number


async def add(store: PostgresStore, c: int, *ids: str, replace: bool = False) -> list[int]:
    written = await store.writer.put(c, list(map(row, ids)), identity="i", replace=replace)
    return [one.key for one in written.results]


async def taken(store: PostgresStore) -> News:
    assert await store.peers.lacking() is not None
    news = await store.peers.news()
    store.peers.take(news)
    assert await store.peers.lacking() is None
    return news


def test_writes_of_others_are_news_once_and_own_ones_never(run: Run) -> None:
    async def story(one: PostgresStore, other: PostgresStore) -> None:
        c = await created(one)
        a, b = await add(one, c, "a", "b")
        assert await one.peers.lacking() is None
        (mine,) = await add(other, c, "mine")
        news = await taken(other)
        assert [(info.number, info.name) for info in news.collections] == [(c, "c")]
        assert [(n.c, n.kind, n.identity, n.keys) for n in news.changes] == [(c, "added", "i", [a, b])]
        await one.vectors.put(c, [a], np.ones((1, 4), np.float32), "next")
        await one.writer.delete(c, [b])
        (again,) = (await one.writer.put(c, [row("mine", "other bytes")], identity="i", replace=True)).results
        changes = (await taken(other)).changes
        assert [(n.kind, n.identity, n.keys) for n in changes] == [
            ("embedded", "next", [a]),
            ("removed", None, [b]),
            ("added", "i", [again.key]),
            ("removed", None, [mine]),
        ]
        assert [n.write for n in changes] == sorted(n.write for n in changes)
        assert [n.keys for n in (await taken(one)).changes] == [[mine]]

    run(story)


def test_rows_that_another_server_has_deleted_are_not_deleted_twice(run: Run) -> None:
    async def story(one: PostgresStore, other: PostgresStore) -> None:
        c = await created(one)
        a, b = await add(one, c, "a", "b")
        assert (await one.writer.delete(c, [a])).keys == (a,)
        assert (await other.writer.delete(c, [a, b])).keys == (b,)

    run(story)


def test_news_of_changed_rows_make_filters_read_them_again(run: Run) -> None:
    async def story(one: PostgresStore, other: PostgresStore) -> None:
        c = await created(one)
        (a,) = await add(one, c, "a")
        await taken(other)
        is_new = Eq(("kind",), "new")
        assert (await other.filtered.passing(c, is_new)).keys.tolist() == []
        await one.writer.patch(c, "a", {"kind": "new"}, 1_000)
        assert not (await taken(other)).only_adds
        assert (await other.filtered.passing(c, is_new)).keys.tolist() == [a]
        await add(one, c, "b")
        assert (await taken(other)).only_adds

    run(story)


def test_server_that_is_further_behind_than_is_remembered_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "N_KEPT", 100)

    async def story(one: PostgresStore, other: PostgresStore) -> None:
        c = await created(one)
        assert (await taken(other)).is_whole
        for _ in range(250):
            await one.writer.put_hashes({})
        assert not (await taken(other)).is_whole
        await add(one, c, "a")
        assert (await taken(other)).is_whole

    run(story)


def test_servers_know_who_lives_and_the_oldest_one_leads(
    run: Run, url: str, tmp_path: Path, postgres_cluster: Cluster
) -> None:
    async def story(one: PostgresStore, other: PostgresStore) -> None:
        assert [await store.peers.leads() for store in (one, other)] == [True, False]
        assert [len(await store.peers.others()) for store in (one, other)] == [1, 1]
        await other.peers.live()  # which shows the write that it knows
        (name,) = await one.peers.others()
        assert name.startswith("diptych other:8000, since ")
        third = opened(url, tmp_path, "third")
        assert len(await one.peers.others()) == 2
        await third.close()
        postgres_cluster.execute(END_WRITER.format(one.threads.pid))
        while len(await other.peers.others()):  # noqa: ASYNC110 - the session ends by itself
            await asyncio.sleep(0.01)
        assert await other.peers.leads()
        await one.peers.live()
        assert [await store.peers.leads() for store in (one, other)] == [False, True]
        assert len(await other.peers.others()) == 1

    run(story)


@pytest.mark.parametrize(
    ("given", "shown"),
    [("", "diptych other:8000 at 0"), ("&application_name=diptych%20of%20us", "diptych of us")],
)
def test_session_of_a_server_shows_the_write_that_it_knows_unless_the_operator_names_it(
    url: str, tmp_path: Path, postgres_cluster: Cluster, given: str, shown: str
) -> None:
    store = opened(url + given, tmp_path, "other")
    try:
        store.threads.live()
        query = f"SELECT application_name FROM pg_stat_activity WHERE pid = {store.threads.pid}"
        assert postgres_cluster.execute(query) == [(shown,)]
    finally:
        store.close_now()


def test_server_with_originals_of_its_own_and_those_with_common_ones_exclude_each_other(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "LOCK_WAIT_S", 0.1)
    one = opened(url, tmp_path, "one")
    with pytest.raises(DataDirLocked, match=r"in use by another server \(diptych .* DIPTYCH_ORIGINALS"):
        PostgresStore(url, tmp_path / "originals")
    one.close_now()
    alone = PostgresStore(url, tmp_path / "originals")
    with pytest.raises(DataDirLocked):
        opened(url, tmp_path, "one")
    alone.close_now()
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="belongs to another database than the folder"):
        PostgresStore(url, tmp_path / "one", originals=tmp_path / "other")


def test_start_that_is_refused_leaves_folders_as_they_were(url: str, tmp_path: Path) -> None:
    opened(url, tmp_path, "one").close_now()
    new, mistyped = tmp_path / "new", tmp_path / "mistyped"
    mistyped.mkdir()
    for originals, named in ((None, f"data folder {new}"), (mistyped, rf"{mistyped} \(DIPTYCH_ORIGINALS\)")):
        with pytest.raises(ConfigError, match=f"the database and .*{named} do not belong together"):
            PostgresStore(url, new, originals=originals)
    assert not (mistyped / DATABASE_ID).exists()
    opened(url, tmp_path, "new").close_now()
    ids = {(tmp_path / name / DATABASE_ID).read_text() for name in ("originals", "one", "new")}
    assert len(ids) == 1


def test_versions_are_switched_once_all_other_servers_say_that_they_are_ready(
    run: Run, postgres_cluster: Cluster
) -> None:
    async def story(one: PostgresStore, other: PostgresStore) -> None:
        c = await created(one)
        first, second = SqlRollouts(one.threads), SqlRollouts(other.threads)
        served = ServedVersions(TARGET, None, "fp32")
        await first.switch(served, {}, Rollout.new(TARGET))
        await second.switch(served, {}, Rollout.new(TARGET))  # the same
        with pytest.raises(Conflict, match="stop them first"):
            await other.catalogue.move(c, TARGET, "other")
        await taken(other)
        await taken(one)
        later = ServedVersions(Target(REF, "int8", "exact"), TARGET, "int8")
        rollout = Rollout.new(later.active)
        what, moves = of_rollout(rollout.id), {c: CollectionMove(later.active, "next")}

        async def refused(by: PostgresStore) -> str:
            async with by.peers.writing_alone():
                with pytest.raises(SwitchRefused) as error:
                    await SqlRollouts(by.threads).switch(later, moves, rollout.ended("active"))
            return str(error.value)

        assert (await refused(one)).startswith("waits for diptych ")
        await other.peers.announce(what, "no such version")
        assert (await refused(one)).endswith(": no such version")
        await other.peers.announce(what)
        assert await one.peers.lacking_announcement(what) == []
        with pytest.raises(SwitchRefused, match="may have written"):  # as they are not kept from writing
            await first.switch(later, moves, rollout.ended("active"))
        await one.peers.announce(what)
        assert "may have written" in await refused(other)  # it is not the oldest one
        postgres_cluster.execute(END_WRITER.format(other.threads.pid))
        await other.peers.live()
        assert await one.peers.lacking_announcement(what) == []  # it says so again
        assert (await first.served()) == served
        async with one.peers.writing_alone():
            await first.switch(later, moves, rollout.ended("active"))
        assert await one.peers.lacking() is None
        with pytest.raises(PairChanged):
            await add(other, c, "a")
        with pytest.raises(PairChanged):
            await other.catalogue.create("d", "original", "i", REF)
        await other.writer.put_hashes({})  # which is of any version
        news = await taken(other)
        assert (news.active, news.switched, news.collections[0].identity) == (
            later.active,
            news.write - 1,
            "next",
        )
        await add(other, c, "a")
        assert (await taken(one)).switched is None

    run(story)


def test_rollout_that_was_cancelled_on_another_server_switches_nothing(run: Run) -> None:
    async def story(one: PostgresStore, other: PostgresStore) -> None:
        served = ServedVersions(TARGET, None, "fp32")
        rollout = Rollout.new(TARGET)
        await SqlRollouts(one.threads).put_rollout(rollout)
        await SqlRollouts(other.threads).put_rollout(rollout.ended("cancelled", "by a request"))
        await SqlRollouts(one.threads).put_rollout(rollout)
        with pytest.raises(Conflict, match="has ended: it is cancelled"):
            await SqlRollouts(one.threads).switch(served, {}, rollout.ended("active"))
        assert await SqlRollouts(one.threads).served() is None

    run(story)


def test_others_wait_while_one_server_writes_alone_until_it_is_gone(
    run: Run, postgres_cluster: Cluster
) -> None:
    async def story(one: PostgresStore, other: PostgresStore) -> None:
        async with one.peers.writing_alone():
            waiting = asyncio.create_task(other.writer.put_hashes({}))
            await one.writer.put_hashes({})
            await one.writer.put_hashes({})
            assert not waiting.done()
        await waiting
        async with one.peers.writing_alone():
            waiting = asyncio.create_task(other.writer.put_hashes({}))
            await one.writer.put_hashes({})
            postgres_cluster.execute(END_WRITER.format(one.threads.pid))
            await waiting
        await one.writer.put_hashes({})

    run(story)


def test_switch_of_a_server_alone_is_its_own(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        one = opened(url, tmp_path, "one")
        rollouts = SqlRollouts(one.threads)
        for precision in ("fp32", "int8", "fp32"):
            target = Target(REF, precision, "exact")
            async with one.peers.writing_alone():
                await rollouts.switch(ServedVersions(target, None, precision), {}, Rollout.new(target))
            assert await one.peers.lacking() is None
            await one.require_writable()
        await one.close()

    asyncio.run(story())


def test_writes_that_are_lost_are_noticed_by_who_knew_them(run: Run, url: str) -> None:
    async def story(one: PostgresStore, other: PostgresStore) -> None:
        c = await created(one)
        await taken(other)
        await add(one, c, "a")
        with psycopg.connect(url, autocommit=True) as db:  # as a standby that lagged when it took over
            db.execute("DELETE FROM writes WHERE number = (SELECT max(number) FROM writes)")
            db.execute(
                "UPDATE last_write SET (number, id) = (SELECT number, id FROM writes ORDER BY 1 DESC LIMIT 1)"
            )
        await other.writer.put_hashes({})  # it has the number of the lost one
        await other.require_writable()
        for refused in (one.peers.lacking(), one.writer.put_hashes({}), one.require_writable()):
            with pytest.raises(StoreUnavailable, match="has lost writes that were acknowledged"):
                await refused

    run(story)


def test_lost_write_of_another_server_is_noticed_by_one_whose_own_is_the_last_that_is_left(
    run: Run, url: str
) -> None:
    async def story(one: PostgresStore, other: PostgresStore) -> None:
        c = await created(one)
        await taken(other)
        with psycopg.connect(url, autocommit=True) as db:
            (left,) = db.execute("SELECT max(number) FROM writes").fetchone() or ()
            await add(other, c, "a")
            await taken(one)
            db.execute("DELETE FROM writes WHERE number > %s", (left,))
            db.execute(
                "UPDATE last_write SET (number, id) = (SELECT number, id FROM writes WHERE number = %s)",
                (left,),
            )
        for refused in (one.peers.lacking(), one.require_writable(), one.writer.put_hashes({})):
            with pytest.raises(StoreUnavailable, match="has lost writes that were acknowledged"):
                await refused

    run(story)


def test_files_of_indexes_that_may_know_lost_writes_are_removed_at_a_start(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(store=url, data_dir=tmp_path / "data")  # type: ignore[arg-type]
    index = tmp_path / "data" / "index" / "1_a.ivf"

    def started(*, then: Callable[[PostgresStore], None] = lambda store: None) -> None:
        with closing(DataLock(tmp_path / "data")) as lock:
            store = open_store(settings, Quota(), lock)
            try:
                then(store)
            finally:
                store.close_now()

    def writes_and_notes(store: PostgresStore) -> None:
        asyncio.run(created(store))
        index.parent.mkdir()
        index.write_bytes(b"vectors")
        store.keep_known_now()

    started(then=writes_and_notes)
    started()
    assert index.exists()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            "UPDATE writes SET id = 'of another history' WHERE number = (SELECT max(number) FROM writes)"
        )
        db.execute("UPDATE last_write SET id = 'of another history'")
    started()
    assert not index.exists()
    assert "the database lacks writes that the data folder knows" in caplog.text


def test_originals_of_one_server_are_moved_before_several_share_them(url: str, tmp_path: Path) -> None:
    alone, common = tmp_path / "alone", tmp_path / "originals"
    PostgresStore(url, alone).close_now()
    file = alone / "images" / "ab" / ("ab" * 32)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"picture")
    settings = Settings(store=url, data_dir=alone, originals=f"file://{common}")  # type: ignore[arg-type]
    with closing(DataLock(alone)) as lock:
        with pytest.raises(ConfigError, match=f"there is no folder {common}: make it"):
            open_store(settings, Quota(), lock)
        common.mkdir()
        with pytest.raises(ConfigError, match=f"move its images, thumbnails and {DATABASE_ID} to {common}"):
            open_store(settings, Quota(), lock)
        for name in ("images", DATABASE_ID):
            (alone / name).rename(common / name)
        open_store(settings, Quota(), lock).close_now()
    assert (alone / DATABASE_ID).read_text() == (common / DATABASE_ID).read_text()
    opened(url, tmp_path, "new").close_now()


def test_server_that_only_reads_knows_the_others_and_they_do_not_know_it(
    run: Run, url: str, tmp_path: Path
) -> None:
    async def story(one: PostgresStore, other: PostgresStore) -> None:
        reader = opened_read_only(url, tmp_path)
        try:
            assert (len(await one.peers.others()), len(await reader.peers.others())) == (1, 2)
            await one.peers.announce("ready")
            await reader.peers.announce("not heard")
            assert len(await one.peers.lacking_announcement("ready")) == 1  # the other one, not the reader
            assert await other.peers.announced("not heard") == {}
            c = await created(one)
            with pytest.raises(StoreReadOnly, match="the server is read-only"):
                await add(reader, c, "a")
            keys = await add(one, c, "a")
            assert [change.keys for change in (await reader.peers.news()).changes] == [keys]
            assert not await reader.peers.leads()
            await one.close()
            await other.close()
            for _ in range(1_000):  # the database ends their sessions a moment later
                if not await reader.peers.others():
                    break
                await asyncio.sleep(0.01)
            assert await reader.peers.others() == []
            assert not await reader.peers.leads()
        finally:
            await reader.close()

    run(story)


def test_server_that_uses_a_database_alone_minds_one_that_only_reads(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "LOCK_WAIT_S", 0.1)
    opened(url, tmp_path, "one").close_now()
    reader = opened_read_only(url, tmp_path)
    with pytest.raises(DataDirLocked, match=r"in use by another server \(diptych"):
        PostgresStore(url, tmp_path / "originals")
    reader.close_now()
    alone = PostgresStore(url, tmp_path / "originals")
    with pytest.raises(DataDirLocked, match=r"in use by another server \(diptych"):
        opened_read_only(url, tmp_path)
    alone.close_now()

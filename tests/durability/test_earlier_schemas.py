"""A data folder of an earlier schema is converted with everything in it; an older one is refused.

`schemas/9.sql` and `schemas/11.sql` are databases as the releases with these schemas wrote them.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.sqlite.export import SqliteExport
from diptych.adapters.sqlite.jobs import SqlJobs
from diptych.adapters.sqlite.labels import SqlLabels
from diptych.adapters.sqlite.rollouts import SqlRollouts
from diptych.adapters.sqlite.schema import OLDEST, VERSION, schema_version
from diptych.adapters.sqlite.snapshot import SqliteSnapshot
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.core.backup import DamagedImage
from diptych.core.collections.metadata.filters import Compare
from diptych.core.collections.metadata.words import parse_words
from diptych.core.labels.label_set import Definition, Label, NewVerdict, Verdict
from diptych.core.rollout.types import Rollout, ServedVersions
from diptych.core.types import NewRow, Target, VersionRef
from diptych.errors import Conflict, StoreError
from diptych.failpoints import VARIABLE
from support.tiny_bundle import TINY
from support.warm_server import WarmServers
from support.word_index import disagreeing_words

SCHEMAS = Path(__file__).parent / "schemas"
ONE = VersionRef(TINY, 1, "1111")  # which serves
SECOND_IS_OF_ONE = (
    "UPDATE identities SET (model, version, precision, decode, bundle)"
    " = ('tiny', 1, 'int8', 'fast', '1111') WHERE number = 2;"
)
MINE_HAS_SECOND = "UPDATE collections SET identity = 2 WHERE name = 'mine';"  # two images of three
FIRST_IS_OF_TWO = "UPDATE identities SET version = 2, bundle = '2222' WHERE number = 1;"
SERVES_AGAIN_AS_ONE = "UPDATE collections SET version = 1, bundle = '1111';"


def as_left_by_the_release_before(data_dir: Path, changes: str = "", schema: int = OLDEST) -> None:
    """Create the database of that release, with changes by SQL, and an empty folder of images."""
    (data_dir / "images").mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        db.executescript((SCHEMAS / f"{schema}.sql").read_text(encoding="utf-8") + changes)


def tables_and_indexes(data_dir: Path) -> dict[str, Any]:
    """The columns of each table, in any order, and the definition of each index, by name; without the words,
    which are tables for each collection.
    """
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        found: dict[str, Any] = {}
        for kind, name, sql in db.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'words%'"
        ):
            columns = db.execute(f"PRAGMA table_info({name})")
            found[name] = sorted(column for _, *column in columns) if kind == "table" else sql
    return found


def rollouts_of(data_dir: Path) -> tuple[ServedVersions | None, list[Rollout]]:
    """What serves, and all rollouts."""

    async def read() -> tuple[ServedVersions | None, list[Rollout]]:
        store = SqliteStore(data_dir)
        try:
            rollouts = SqlRollouts(store.threads)
            return await rollouts.served(), await rollouts.rollouts(100)
        finally:
            await store.close()

    return asyncio.run(read())


@pytest.mark.parametrize("schema", [9, 11])
def test_converted_database_has_the_tables_of_a_new_one_and_everything_in_them(
    tmp_path: Path, schema: int
) -> None:
    converted, new = tmp_path / "converted", tmp_path / "new"
    as_left_by_the_release_before(converted, schema=schema)
    for _ in range(2):  # and after opening it again
        asyncio.run(check_rows(converted))
    asyncio.run(SqliteStore(new).close())
    assert tables_and_indexes(converted) == tables_and_indexes(new)
    with closing(sqlite3.connect(converted / DATABASE)) as db:
        assert schema_version(db) == VERSION


@pytest.mark.parametrize(
    ("changes", "precision", "decode"),
    [
        ("", "fp32", "exact"),
        (SECOND_IS_OF_ONE, "fp32", "exact"),
        (SECOND_IS_OF_ONE + MINE_HAS_SECOND, "int8", "fast"),
        (FIRST_IS_OF_TWO + SERVES_AGAIN_AS_ONE, "fp32", "exact"),
        (FIRST_IS_OF_TWO, "auto", "exact"),
    ],
)
def test_precision_of_most_images_that_the_serving_version_searches_is_recorded(
    tmp_path: Path, changes: str, precision: str, decode: Any
) -> None:
    as_left_by_the_release_before(tmp_path, changes)
    served, _ = rollouts_of(tmp_path)
    assert served == ServedVersions(Target(ONE, precision, decode), None, precision)


def test_rollouts_of_the_server_are_kept_and_those_of_single_collections_are_not(tmp_path: Path) -> None:
    of_server = "('a', 'tiny', 1, '1111', 'active', 'then', NULL, NULL, 0, '', 'later', '{}', NULL)"
    of_collection = "('b', 'tiny', 1, '1111', 'waiting', 'then', 'mine', 'int8', 0, '', NULL, '{}', NULL)"
    as_left_by_the_release_before(tmp_path, f"INSERT INTO rollouts VALUES {of_server}, {of_collection}")
    _, rollouts = rollouts_of(tmp_path)
    assert rollouts == [Rollout("a", Target(ONE, "fp32", "exact"), "active", "then", finished_at="later")]


NO_LIBRARIES = "DROP TABLE library_files; DROP TABLE library_deleted;"
NO_BEFORE = f"{NO_LIBRARIES} ALTER TABLE verdicts DROP COLUMN before;"
NOT_DRAWN = "ALTER TABLE verdicts DROP COLUMN drawn; ALTER TABLE rollouts DROP COLUMN despite_labels;"


@pytest.mark.parametrize(("version", "lacks"), [(13, NO_BEFORE + NOT_DRAWN), (15, NO_BEFORE)])
def test_verdicts_of_earlier_folders_are_kept(tmp_path: Path, version: int, lacks: str) -> None:
    verdict = asyncio.run(one_verdict(tmp_path, gives=True))
    with closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        db.executescript(f"{lacks} UPDATE schema_version SET version = {version};")
    assert asyncio.run(one_verdict(tmp_path, gives=False)) == verdict


async def one_verdict(data_dir: Path, *, gives: bool) -> Verdict:
    """The only verdict of the folder, which is made if it `gives` one."""
    store = SqliteStore(data_dir)
    try:
        labels = SqlLabels(store.threads)
        if gives:
            c = (await store.catalogue.create("mine", "original", "i", ONE)).number
            row = NewRow("a", "0" * 64, 3, "image/png", 4, 5, None, np.ones(4, np.float32))
            await store.writer.put(c, [row], identity="i", replace=False)
            await labels.put(c, "kind", Definition((Label("cat"),)), drops=False)
            await labels.give(c, "kind", [NewVerdict("a", ("cat",))], "ann")
        (collection,) = await store.catalogue.list()
        (verdict,) = (await labels.reviewed(collection.number, "kind")).verdicts.values()
        return verdict
    finally:
        await store.close()


@pytest.mark.parametrize("table", ["images", "embeddings"])
def test_folder_whose_rows_were_still_given_checksums_is_refused_and_left_alone(
    tmp_path: Path, table: str
) -> None:
    as_left_by_the_release_before(tmp_path, f"UPDATE {table} SET checksum = NULL WHERE key = 3")
    with pytest.raises(
        StoreError, match=f"rows of the table {table} have no checksum yet: start the release"
    ):
        SqliteStore(tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        assert schema_version(db) == OLDEST


def test_jobs_keep_the_collections_that_they_added_to(tmp_path: Path) -> None:
    as_left_by_the_release_before(tmp_path, schema=11)

    async def story() -> None:
        store = SqliteStore(tmp_path)
        try:
            jobs = SqlJobs(store.threads)
            assert [(job.id, job.collection, job.state) for job in await jobs.jobs()] == [
                ("open", "theirs", "queued"),
                ("of-gone-2", "gone", "failed"),
                ("of-gone-1", "gone (dropped)", "failed"),
                ("ended", "mine", "done"),
            ]
            assert [item.id for item in await jobs.pending_items("open", 9)] == ["a", "c"]
            mine, theirs = await store.catalogue.list()
            with pytest.raises(Conflict, match="a job adds to collection 'theirs'"):
                await store.catalogue.change(theirs.number, "gone", "original", None)
            await store.catalogue.change(mine.number, "gone", "original", None)
            names = [job.collection for job in await jobs.jobs()]
            assert names == ["theirs", "gone (dropped)", "gone (dropped)", "gone"]
        finally:
            await store.close()

    asyncio.run(story())


@pytest.mark.parametrize("schema", [9, 11])
def test_words_of_images_that_were_there_before_are_found_once_they_are_indexed(
    tmp_path: Path, schema: int
) -> None:
    as_left_by_the_release_before(tmp_path, schema=schema)

    async def story() -> None:
        store = SqliteStore(tmp_path)
        try:
            query = parse_words("x e")
            (mine, _) = await store.catalogue.list()
            before = await store.words.matching(mine.number, query)
            assert (before.keys.tolist(), before.n_indexed, before.n_images) == ([], 0, 2)
            while await store.words.index_next(mine.number):
                pass
            after = await store.words.matching(mine.number, query)
            assert (after.keys.tolist(), after.n_indexed, after.n_images) == ([1], 2, 2)
        finally:
            await store.close()

    asyncio.run(story())
    assert disagreeing_words(tmp_path) == []


@pytest.mark.parametrize("schema", [9, 11])
def test_folder_that_is_not_converted_yet_can_be_checked_and_exported(tmp_path: Path, schema: int) -> None:
    as_left_by_the_release_before(tmp_path, "UPDATE images SET width = 9 WHERE id = 'b';", schema)
    with SqliteSnapshot(tmp_path / DATABASE) as snapshot:
        assert snapshot.damaged_images() == (DamagedImage("mine", "b", "row"),)
        export = SqliteExport(snapshot)
        assert [row.id for row, _ in export.rows("mine", "first")] == ["a", "b"]
        assert export.n_vectors("theirs") == {"first": 1}


def test_older_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    as_left_by_the_release_before(tmp_path, f"DELETE FROM schema_version WHERE version = {OLDEST}")
    before = tables_and_indexes(tmp_path)
    message = f"has schema {OLDEST - 1}, this version converts schema {OLDEST} at the oldest: add its images"
    with pytest.raises(StoreError, match=message):
        SqliteStore(tmp_path)
    assert tables_and_indexes(tmp_path) == before


@pytest.mark.parametrize("side", ["before", "after"])
def test_conversion_that_was_cut_short_is_made_again(warm: WarmServers, tmp_path: Path, side: str) -> None:
    as_left_by_the_release_before(tmp_path)
    server = warm.start(tmp_path, environment={VARIABLE: f"migration_commit.{side}:1"})
    assert server.url_when_ready() is None
    assert server.wait() < 0
    asyncio.run(check_rows(tmp_path))


async def check_rows(data_dir: Path) -> None:
    store = SqliteStore(data_dir)
    try:
        infos = {info.name: (info.model, info.n_images, info.keep) for info in await store.catalogue.list()}
        assert infos == {"mine": (TINY, 2, "original"), "theirs": (TINY, 1, "none")}
        (mine, theirs) = await store.catalogue.list()
        assert (mine.identity, mine.previous_identity) == ("first", "second")
        assert await store.catalogue.sources() == {"first": Target(ONE, "fp32", "exact")}
        a, b = await store.rows.page(mine.number, None, 10)
        assert (a.id, a.sha256, a.n_bytes, a.media_type, a.width, a.height) == (
            "a",
            "1" * 64,
            70,
            "image/png",
            4,
            5,
        )
        assert a.metadata == {"year": 2001, "tags": ["x", "é"]}
        assert (b.id, b.metadata, b.created_at) == ("b", {}, "2026-11-20T08:00:04.000+00:00")
        assert (await store.vectors.find(mine.number, "a", "second")).tolist() == [0, 1]  # type: ignore[union-attr]
        assert (await store.vectors.find(mine.number, "b", "first")).tolist() == [-0.5, 0.5]  # type: ignore[union-attr]
        assert list(await store.vectors.missing(mine.number, "second")) == [3]
        assert (await store.filtered.passing(mine.number, Compare(("year",), "gte", 2001))).keys.tolist() == [
            1
        ]
        row = NewRow("new", "3" * 64, 1, "image/png", 1, 1, None, np.ones(2, np.float32))
        written = await store.writer.put(theirs.number, [row], identity="first", replace=False)
        (added,) = written.results
        assert written.change > 1
        assert added.key > 9  # keys that were used once are not used again
        assert (await store.writer.delete(theirs.number, [added.key])).released == ("3" * 64,)
    finally:
        await store.close()

"""`diptych serve --read-only`: reads work, writes are refused, and the data folder stays as it is."""

import asyncio
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.sqlite.schema import OLDEST
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.core.types import VersionRef
from diptych.errors import ConfigError, CorruptStore, DataDirLocked, StoreError, StoreReadOnly
from diptych.settings import Settings
from diptych.wiring.services import build
from support.app import FIXED_PLAN, running_app
from support.callers import wait_until
from support.pictures import picture
from support.server import log_lines
from support.tiny_bundle import TINY, write_tiny_bundle

COLOURS = ("red", "green", "blue")
IMAGES = "/collections/pets/images"
BECOME = (  # `diptych` that obeys the modes of files
    "import os, sys; from support.other_user import give_up_rights_of_root as give_up; give_up();"
    "os.execv(sys.executable, [sys.executable, '-m', 'diptych', *sys.argv[1:]])"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a model repository, and with data of a server that was stopped."""
    with running_app(tmp_path) as client:
        client.post("/collections", json={"name": "pets"})
        client.post("/collections", json={"name": "empty"})
        for colour in COLOURS:
            files = {"image": (f"{colour}.png", picture(colour), "image/png")}
            added = client.post(IMAGES, files=files, data={"items": f'[{{"id": "{colour}"}}]'})
            assert added.status_code == 200, added.text
        assert client.get(f"{IMAGES}/red/thumbnail?size=128").status_code == 200
    return tmp_path


def read_only_settings(folder: Path, **given: object) -> Settings:
    places = {"model_repo": folder / "model_repo", "model": TINY, "data_dir": folder / "data"}
    return Settings(**{**FIXED_PLAN, **places, "read_only": True, **given})


def state_of(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Mode, time of change, inode and content of everything in a folder."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        stat = path.stat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (stat.st_mode, stat.st_mtime_ns, stat.st_ino, content)
    return found


def use(client: TestClient) -> None:
    """Make every kind of read."""
    assert client.get("/version").json()["read_only"] is True
    found = client.get("/search", params={"q": "red", "collection": "pets", "k": 3}).json()["hits"]
    assert (found[0]["id"], len(found)) == ("red", 3)
    alike = {"query": {"id": "red"}, "collection": "pets", "collapse": "picture"}
    folded = client.post("/search", json=alike)
    assert folded.status_code == 200, folded.text
    assert client.get("/search", params={"q": "red", "collection": "empty"}).json()["hits"] == []
    assert client.post("/embed", json={"input": [{"text": "red"}]}).status_code == 200
    labelled = {"image": ("red.png", picture("red"), "image/png")}
    answer = client.post("/classify", files=labelled, data={"labels": '["red", "blue"]'})
    assert answer.status_code == 200, answer.text
    for path in ("", "/red", "/red/original", "/red/thumbnail?size=128", "/blue/thumbnail?size=256"):
        assert client.get(f"{IMAGES}{path}").status_code == 200, path
    for path in ("/collections", "/jobs", "/models", "/rollouts", "/metrics", "/readyz", f"/models/{TINY}"):
        assert client.get(path).status_code == 200, path


def test_reads_work_and_leave_the_data_folder_as_it_is(folder: Path) -> None:
    before = state_of(folder / "data")
    with running_app(folder, read_only=True, api_key="a key of tests") as client:
        client.headers["X-API-Key"] = "a key of tests"
        use(client)
        refused = client.delete(f"{IMAGES}/red")
        assert refused.status_code == 403
        assert "read-only" in refused.json()["detail"]
    assert state_of(folder / "data") == before


def test_words_that_are_not_indexed_are_said_to_need_a_server_that_may_write(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "data" / DATABASE)) as db, db:
        (c,) = db.execute("SELECT number FROM collections WHERE name = 'pets'").fetchone()
        db.execute("UPDATE collections SET unindexed_until = 99 WHERE number = ?", (c,))
        db.execute(f"DELETE FROM words_{c}")
    with running_app(folder, read_only=True) as client:
        query = {"q": "red", "collection": "pets"}
        refused = client.get("/search", params={**query, "match": "words"})
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:diptych:error:store-read-only")
        assert "the words of 0 of 3 images of collection 'pets'" in refused.json()["detail"]
        assert "start a server once that may write" in refused.json()["detail"]
        assert "retry-after" not in refused.headers
        found = client.get("/search", params={**query, "match": "both"}).json()
        assert (found["hits"][0]["id"], found["words_incomplete"]) == ("red", True)
    with running_app(folder) as client:
        wait_until(lambda: client.get("/collections/pets").json()["n_text_indexed"] == 3)
        found = client.get("/search", params={**query, "match": "words"}).json()
        assert ([hit["id"] for hit in found["hits"]], found["words_incomplete"]) == (["red"], False)


def test_folder_that_this_user_may_not_write_is_served(folder: Path, tmp_path: Path) -> None:
    data_dir, log_file = folder / "data", tmp_path / "server.log"
    everything = [data_dir, *data_dir.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = state_of(data_dir)
    places = ["--model-repo", folder / "model_repo", "--model", TINY, "--data-dir", data_dir]
    command = [sys.executable, "-c", BECOME, "serve", "--read-only", "--port", "0", *map(str, places)]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DIPTYCH_")}
    ours["PYTHONPATH"] = os.pathsep.join(sys.path)
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=ours)
    try:
        wait_until(lambda: any(one["message"] == "ready" for one in log_lines(log_file)), within_s=60)
        url = next(one["url"] for one in log_lines(log_file) if one["message"] == "ready")

        with httpx.Client(base_url=url) as client:
            use(client)
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0, log_file.read_text()
    assert state_of(data_dir) == before
    assert "curl" in log_file.read_text()
    assert " add --url" not in log_file.read_text()  # is no first step here
    for path in everything:
        path.chmod(0o755)


def test_version_that_is_gone_is_an_error_and_not_replaced_by_another(folder: Path) -> None:
    shutil.rmtree(folder / "model_repo")
    shutil.rmtree(folder / "data" / "models")
    write_tiny_bundle(folder / "model_repo", seed=1)
    with pytest.raises(Exception, match="tiny/1"):
        build(read_only_settings(folder))


def test_folder_without_a_database_is_refused(folder: Path) -> None:
    (folder / "data" / DATABASE).unlink()
    with pytest.raises(ConfigError, match=r"has no database .*: a read-only server serves"):
        build(read_only_settings(folder))


def test_log_of_a_killed_server_is_refused(folder: Path) -> None:
    (folder / "data" / f"{DATABASE}-wal").write_bytes(b"changes")
    with pytest.raises(StoreError, match=r"diptych.sqlite3-wal \(7 bytes\), as after a kill: start and stop"):
        build(read_only_settings(folder))


def test_database_of_an_earlier_schema_is_refused_and_stays(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "data" / DATABASE)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("UPDATE schema_version SET version = ?", (OLDEST,))
        db.commit()
    before = state_of(folder / "data")
    with pytest.raises(StoreError, match=r"needs schema .*: start a server once that may write"):
        build(read_only_settings(folder))
    assert state_of(folder / "data") == before


def test_lost_folder_of_images_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "data" / "images")
    with pytest.raises(CorruptStore, match="is not there, and the database knows of originals"):
        build(read_only_settings(folder))


def test_folder_that_a_server_writes_to_is_refused(folder: Path) -> None:
    with closing(DataLock(folder / "data")), pytest.raises(DataDirLocked, match="which may write to it"):
        build(read_only_settings(folder))


def test_store_that_is_read_only_refuses_writes(folder: Path) -> None:
    async def write() -> None:
        store = SqliteStore(folder / "data", read_only=True)
        try:
            with pytest.raises(StoreReadOnly, match="the server is read-only"):
                await store.catalogue.create("more", "original", "any", VersionRef(TINY, 1, "0" * 64))
            assert {one.name for one in await store.catalogue.list()} == {"default", "empty", "pets"}
        finally:
            await store.close()

    asyncio.run(write())

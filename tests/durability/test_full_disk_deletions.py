"""Deletions succeed on a full disk, free space, and remain after a restart."""

import json
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from diptych.adapters.backup.data_folder import DataFolder
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.adapters.sqlite.threads import BLOCK, RESERVE_SHARE
from durability.running import Running, problem
from durability.small_disk import NEEDS_ROOT, SmallDisk
from integration.data_folders import change, contents, put
from integration.store_parts import tiny_png
from support.warm_server import WarmServers

pytestmark = NEEDS_ROOT
MEGABYTES = 12
HELD = MEGABYTES * 2**20 // RESERVE_SHARE - BLOCK
N_LARGE = 192  # images whose rows take more log to delete than is held
LARGE = {"long": "x" * 12_000}


def add_large_collection(running: Running) -> None:
    """Add a large collection, which the journal does not record, without image files."""
    assert running.http.post("/collections", json={"name": "large", "keep": "none"}).is_success
    for first in range(0, N_LARGE, 64):
        files = [("image", (str(n), tiny_png(n), "image/png")) for n in range(first, first + 64)]
        items = json.dumps([{"id": f"l{n}", "metadata": LARGE} for n in range(first, first + 64)])
        answer = running.http.post("/collections/large/images", files=files, data={"items": items})
        assert answer.is_success, answer.text


def log_bytes(data_dir: Path) -> int:
    """Return the size of the database's log on the disk."""
    log = data_dir / f"{DATABASE}-wal"
    return log.stat().st_blocks * 512 if log.exists() else 0


def test_deleting_goes_on_on_a_full_disk_and_then_adding_does(warm: WarmServers, disk: SmallDisk) -> None:
    running = Running(warm, disk)
    add_large_collection(running)
    assert running.add(60, {"long": "x" * 2_000}).is_success

    def fill() -> None:
        disk.fill()
        assert disk.free == 0
        running.kill()
        running.start()  # with all that was acknowledged
        assert problem(running.add(1)) == (507, "store-full")

    fill()
    assert running.delete("i0").status_code == 204
    running.finish_embedding()
    fill()
    assert running.http.delete("/collections/large").status_code == 204
    assert [one["name"] for one in running.http.get("/collections").json()["collections"]] == ["default"]
    fill()
    answer = running.delete_matching({"long": {"exists": True}})
    assert (answer.status_code, answer.json()["n_images"]) == (200, 59), answer.text
    running.finish_embedding()
    assert running.add(3).is_success  # where the 59 images were
    running.finish_embedding()
    assert log_bytes(running.data_dir) > HELD
    running.stop()
    running.start()
    running.stop()


def test_server_stops_on_a_full_disk_with_the_log_written_into_the_database(
    warm: WarmServers, disk: SmallDisk
) -> None:
    running = Running(warm, disk)
    assert running.add(40, {"long": "x" * 4_000}).is_success
    disk.fill()
    assert running.delete("i0").status_code == 204
    disk.fill()
    running.stop()
    assert log_bytes(running.data_dir) == 0
    with closing(sqlite3.connect(f"file:{running.data_dir / DATABASE}?immutable=1", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM images").fetchone() == (39,)


@pytest.mark.parametrize("why", ["full", "read"])
def test_log_that_cannot_be_written_into_the_database_is_read_by_the_next_start(
    disk: SmallDisk, why: str
) -> None:
    data_dir = disk.folder / "data"

    async def grow(store: SqliteStore, files: ImageFiles) -> None:
        await put(store, files, {f"i{n}": b"%d" % n for n in range(400)})
        if why == "read":
            reading.enter_context(DataFolder(data_dir).snapshot())
            await put(store, files, {"last": b"last"})
        else:
            disk.fill()

    with ExitStack() as reading:
        change(data_dir, grow)
        assert why == "full" or log_bytes(data_dir) > 0
    disk.empty()
    assert len(contents(data_dir)) == (401 if why == "read" else 400)

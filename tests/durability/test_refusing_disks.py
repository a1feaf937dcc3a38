"""A disk that is full or read-only: refused with the reason, nothing lost, and it goes on afterwards."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from durability.inspect_server import settle_all
from durability.journal import Held, Images, Journal, Kept
from durability.small_disk import NEEDS_ROOT, SmallDisk, read_only, small_disk
from integration.store_parts import tiny_png
from support.tars import tar_of
from support.tiny_bundle import TINY, write_tiny_bundle
from support.warm_server import WarmServer, WarmServers

pytestmark = NEEDS_ROOT
MEGABYTES = 12
ROOM = 1_000_000  # enough for everything that these tests add
N_OF_JOB = 200  # images, a block of the disk each
ROOM_FOR_SOME = 350_000  # the job itself, and fewer images than that
JOB_SPEAKS_WITHIN_S = 30


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmServers]:
    model_repo = tmp_path_factory.mktemp("repo")
    write_tiny_bundle(model_repo)
    with WarmServers(model_repo, TINY) as servers:
        yield servers


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", MEGABYTES) as mounted:
        yield mounted


class Running:
    """A server whose data folder is on the small disk, and its journal."""

    def __init__(self, warm: WarmServers, disk: SmallDisk, *flags: str) -> None:
        self._warm = warm
        self._flags = flags
        self.data_dir = disk.folder / "data"
        self.log_file = disk.folder.with_name("server.log")
        self.journal = Journal({"default": Held("default", {})})
        self.n = 0
        self.start()

    def start(self) -> None:
        """Starts, and has everything."""
        self.server = self.begin()
        url = self.server.url_when_ready()
        assert url is not None, self.log_file.read_text()
        self.http = httpx.Client(base_url=url, timeout=30, verify=False)
        self.settle()

    def begin(self) -> WarmServer:
        """Starts, without waiting."""
        return self._warm.start(self.data_dir, *self._flags, log_file=self.log_file)

    def stop(self) -> None:
        self.http.close()
        self.server.kill(signal.SIGTERM)
        assert self.server.wait() == 0, self.log_file.read_text()

    def settle(self) -> None:
        settle_all(str(self.http.base_url), self.data_dir, self.journal, ["default"], thorough=True)

    def add(self, n_images: int = 1, metadata: Any = None) -> httpx.Response:
        """The next pictures; acknowledged in the journal when the server did."""
        fresh = {f"i{n}": Kept(tiny_png(n), metadata or {}) for n in range(self.n, self.n + n_images)}
        self.n += n_images
        items = json.dumps([{"id": id, "metadata": kept.metadata} for id, kept in fresh.items()])
        files = [("image", (id, kept.payload, "image/png")) for id, kept in fresh.items()]
        answer = self.http.post("/collections/default/images", files=files, data={"items": items})
        if answer.is_success:
            self._acknowledge({**self._images(), **fresh})
        return answer

    def delete(self, id: str) -> httpx.Response:
        answer = self.http.delete(f"/collections/default/images/{id}")
        if answer.is_success:
            self._acknowledge({i: kept for i, kept in self._images().items() if i != id})
        return answer

    def _images(self) -> Images:
        held = self.journal.acknowledged["default"]
        assert held is not None
        return held.images

    def _acknowledge(self, images: Images) -> None:
        self.journal.acknowledged["default"] = Held("default", images)


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:diptych:error:")


def test_full_disk_is_507_at_whatever_step_it_gets_full(warm: WarmServers, disk: SmallDisk) -> None:
    running = Running(warm, disk)
    assert running.add(5).is_success
    refused = 0
    # In ever larger steps: full at the file, at its folder, in the log of the database, at last not at all.
    for blocks in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64):
        disk.fill(but=blocks * 4096)
        answer = running.add(3, {"long": "x" * 10_000})
        if not answer.is_success:
            refused += 1
            assert problem(answer) == (507, "store-full")
            assert "no space is left on the disk of the data folder" in answer.json()["detail"]
        running.settle()
    assert refused >= 4
    assert f'diptych_rejected_total{{reason="disk_full"}} {refused}.0\n' in running.http.get("/metrics").text
    disk.empty()
    assert running.add(3).is_success
    running.settle()
    running.stop()
    running.start()
    running.stop()


def test_server_says_that_the_disk_is_full_or_starts_on_it(warm: WarmServers, disk: SmallDisk) -> None:
    running = Running(warm, disk)
    assert running.add(5).is_success
    running.stop()
    for blocks in (0, 2, 6, 8, 10, 40):
        disk.fill(but=blocks * 4096)
        server = running.begin()
        if server.url_when_ready() is None:
            assert server.wait() == 1
            assert "no space is left on the disk" in running.log_file.read_text()
        else:
            server.kill(signal.SIGTERM)
            server.wait()
    disk.empty()
    running.start()
    running.stop()


def test_read_only_disk_stops_the_start_with_the_reason(warm: WarmServers, disk: SmallDisk) -> None:
    running = Running(warm, disk)
    assert running.add(2).is_success
    running.stop()
    disk.remount("ro")
    server = running.begin()
    assert server.wait() == 1
    assert (
        f"data folder {running.data_dir} cannot be used: Read-only file system"
        in running.log_file.read_text()
    )
    disk.remount("rw")
    running.start()
    running.stop()


def test_image_folder_that_turns_read_only_refuses_writes_and_is_read(
    warm: WarmServers, disk: SmallDisk
) -> None:
    running = Running(warm, disk)
    assert running.add(3).is_success
    with read_only(running.data_dir / "images"):
        answer = running.add(1)
        assert problem(answer) == (503, "store-read-only")
        assert "on a disk that is read-only" in answer.json()["detail"]
        assert 'diptych_rejected_total{reason="disk_read_only"} 1.0\n' in running.http.get("/metrics").text
        running.settle()
    assert running.add(1).is_success
    running.settle()
    running.stop()


def test_over_the_quota_is_507_and_deleting_makes_room(warm: WarmServers, disk: SmallDisk) -> None:
    running = Running(warm, disk, "--max-data-bytes", "400000")
    while (answer := running.add(3, {"long": "x" * 4_000})).is_success:
        assert running.n < 1000
    assert problem(answer) == (507, "store-full")
    assert "the limit is 400000 (DIPTYCH_MAX_DATA_BYTES)" in answer.json()["detail"]
    while running.add(1, {"long": "x" * 4_000}).is_success:  # less room than the patch below takes
        assert running.n < 1000
    assert problem(
        running.http.patch("/collections/default/images/i0", json={"metadata": {"long": "x" * 15_000}})
    ) == (
        507,
        "store-full",
    )
    running.settle()
    running.stop()
    running.start()  # counts what is there
    assert problem(running.add(3, {"long": "x" * 4_000})) == (507, "store-full")
    for n in range(12):
        assert running.delete(f"i{n}").is_success
    assert running.add(3, {"long": "x" * 4_000}).is_success
    running.settle()
    running.stop()


def follow(running: Running, job: str, until: str) -> Any:
    """The job, once this key of it has something to say."""
    deadline = time.monotonic() + JOB_SPEAKS_WITHIN_S
    while not (told := running.http.get(job).json())[until]:
        assert time.monotonic() < deadline, told
    return told


def test_job_that_waits_on_a_full_disk_is_cancelled_there_and_stays_so(
    warm: WarmServers, disk: SmallDisk
) -> None:
    running = Running(warm, disk)
    archive = tar_of({f"{n:03}.png": tiny_png(n) for n in range(N_OF_JOB)})
    disk.fill(but=len(archive) + ROOM_FOR_SOME)
    answer = running.http.post(
        "/collections/default/images", content=archive, headers={"content-type": "application/x-tar"}
    )
    assert answer.status_code == 202, answer.text
    job = f"/jobs/{answer.json()['id']}"
    told = follow(running, job, "reason")
    assert (told["state"], "no space is left on the disk" in told["reason"]) == ("running", True)
    disk.fill()
    cancelled = running.http.delete(job)
    assert cancelled.status_code == 200, cancelled.text
    assert cancelled.json()["state"] == "cancelled"
    assert list((running.data_dir / "jobs").iterdir()) == []

    def kept() -> tuple[Any, Any, set[str]]:
        outcomes = running.http.get(f"{job}/outcomes?limit=1000").json()["outcomes"]
        images = running.http.get("/collections/default/images?limit=1000").json()["images"]
        assert {one["id"] for one in outcomes} == {row["id"] for row in images}
        return running.http.get(job).json(), outcomes, {row["sha256"] for row in images}

    before = kept()
    assert before[0]["n_done"] == len(before[1]) < N_OF_JOB
    running.server.kill()
    running.server.wait()
    running.http.close()
    disk.empty()
    running.server = running.begin()
    url = running.server.url_when_ready()
    assert url is not None, running.log_file.read_text()
    running.http = httpx.Client(base_url=url, timeout=30, verify=False)
    assert kept() == before
    assert {file.name for file in (running.data_dir / "images").glob("*/*")} == before[2]
    running.stop()

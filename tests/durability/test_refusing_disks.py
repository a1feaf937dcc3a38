"""Writes to a full or read-only disk are refused with the reason, lose nothing, and work again afterwards."""

import time
from pathlib import Path
from typing import Any

import httpx

from durability.running import Running, problem
from durability.small_disk import NEEDS_ROOT, SmallDisk, failing_disk, read_only
from integration.store_parts import tiny_png
from support.tars import tar_of
from support.warm_server import WarmServers

pytestmark = NEEDS_ROOT
MEGABYTES = 12
N_OF_JOB = 200  # images, a block of the disk each
ROOM_FOR_SOME = 350_000  # the job itself, and fewer images than that
JOB_SPEAKS_WITHIN_S = 30


def test_full_disk_is_507_at_whatever_step_it_gets_full(warm: WarmServers, disk: SmallDisk) -> None:
    running = Running(warm, disk)
    assert running.add(5).is_success
    refused = 0
    # Growing free space: the disk is full at the file, at its folder, at the database's log, and finally not.
    for blocks in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64):
        disk.fill(but=blocks * 4096)
        answer = running.add(3, {"long": "x" * 10_000})
        if not answer.is_success:
            refused += 1
            assert problem(answer) == (507, "store-full")
            assert "no space is left on the disk of the data folder" in answer.json()["detail"]
        running.finish_embedding()
    assert refused >= 4
    assert f'diptych_rejected_total{{reason="disk_full"}} {refused}.0\n' in running.http.get("/metrics").text
    disk.empty()
    assert running.add(3).is_success
    running.finish_embedding()
    running.stop()
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
        assert answer.json()["detail"].startswith("the data folder is on a disk that is read-only")
        assert 'diptych_rejected_total{reason="disk_read_only"} 1.0\n' in running.http.get("/metrics").text
        assert running.http.get("/readyz").status_code == 503
        running.finish_embedding()
    assert running.http.get("/readyz").status_code == 200
    assert running.add(1).is_success
    running.finish_embedding()
    running.stop()


def test_disk_that_failed_refuses_every_write_and_is_read(warm: WarmServers, tmp_path: Path) -> None:
    with failing_disk(tmp_path / "disk", 64) as fail:
        running = Running(warm, SmallDisk(tmp_path / "disk"))
        assert running.add(3).is_success
        fail()
        http = running.http
        answers = [
            running.add(1),
            running.delete("i0"),
            http.patch("/collections/default/images/i0", json={"metadata": {"a": 1}}),
            http.post("/collections", json={"name": "new"}),
            http.patch("/collections/default", json={"name": "renamed"}),
            http.delete("/collections/default"),
        ]
        assert {problem(answer) for answer in answers} == {(503, "store-read-only")}
        ready = http.get("/readyz")
        assert (
            ready.status_code,
            ready.json()["detail"].startswith("the data folder is on a disk that is read-only"),
        ) == (503, True)
        assert len(http.get("/search", params={"q": "red"}).json()["hits"]) == 3
        running.stop()


def follow(running: Running, job: str, until: str) -> Any:
    """Wait until the job has a value for the key; return the job."""
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

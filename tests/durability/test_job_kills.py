"""A kill before or after the commit of a job's rows and outcomes does not restore deleted images."""

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from diptych.adapters.sqlite.store import DATABASE
from diptych.core.jobs.runner import MAX_BATCH
from diptych.failpoints import VARIABLE
from integration.store_parts import tiny_png
from support.tars import tar_of
from support.warm_server import WarmServer, WarmServers

N_IMAGES = 2 * MAX_BATCH + 3
WITHIN_S = 60
IMAGES = "/collections/default/images"


def started(warm: WarmServers, data_dir: Path, **environment: str) -> tuple[WarmServer, httpx.Client]:
    server = warm.start(data_dir, environment=environment)
    url = server.url_when_ready()
    assert url is not None, server.log_file.read_text()
    return server, httpx.Client(base_url=url, timeout=30, verify=False)


def killed_at(warm: WarmServers, data_dir: Path, point: str) -> None:
    """Start a server that accepts a job and kills itself at the failpoint."""
    archive = tar_of({f"{n:02}.png": tiny_png(n) for n in range(N_IMAGES)})
    server, http = started(warm, data_dir, **{VARIABLE: point})
    with http:
        headers = {"content-type": "application/x-tar"}
        assert http.post(IMAGES, content=archive, headers=headers).status_code == 202
    assert server.wait() == -signal.SIGKILL, server.log_file.read_text()


def ids_of(data_dir: Path, query: str) -> set[str]:
    """Return the ids in the database that the kill left."""
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        return {id for (id,) in db.execute(query)}


def listed(http: httpx.Client) -> set[str]:
    answer = http.get(IMAGES, params={"limit": 100})
    assert answer.is_success, answer.text
    return {row["id"] for row in answer.json()["images"]}


def wait_for_the_job(http: httpx.Client) -> dict[str, int]:
    """Wait until the job has ended; return its counts."""
    deadline = time.monotonic() + WITHIN_S
    while (job := http.get("/jobs").json()["jobs"][0])["finished_at"] is None:
        assert time.monotonic() < deadline, job
    assert (job["state"], job["n_done"]) == ("done", N_IMAGES)
    return {status: n for status, n in job["counts"].items() if n}


@pytest.mark.parametrize(
    ("n", "side"),
    [
        (1, "before"),
        (3, "after"),
        *(
            pytest.param(n, side, marks=pytest.mark.long)
            for n, side in ((1, "after"), (2, "before"), (2, "after"), (3, "before"))
        ),
    ],
)
def test_deleted_images_of_a_job_that_was_killed_at_its_commit_never_return(
    warm: WarmServers, tmp_path: Path, side: str, n: int
) -> None:
    killed_at(warm, tmp_path, f"job_commit.{side}:{n}")
    rows = ids_of(tmp_path, "SELECT id FROM images")
    assert rows == ids_of(tmp_path, "SELECT id FROM job_items WHERE status = 'created'")
    assert len(rows) == min(MAX_BATCH * (n if side == "after" else n - 1), N_IMAGES)
    server, http = started(warm, tmp_path)
    with http:
        for id in rows:  # while the job goes on with the others
            assert http.delete(f"{IMAGES}/{id}").status_code == 204
        counts = wait_for_the_job(http)
        left = listed(http)
        server.kill()
        server.wait()
    assert counts == {"created": N_IMAGES}
    assert len(left) == N_IMAGES - len(rows)
    assert left.isdisjoint(rows)
    server, http = started(warm, tmp_path)
    with http:
        assert listed(http) == left
        server.kill(signal.SIGTERM)
    assert server.wait() == 0

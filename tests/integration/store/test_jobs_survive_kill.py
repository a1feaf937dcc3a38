"""A job goes on when the server is killed: what was acknowledged is there once, and the rest is done."""

import time
from pathlib import Path

import pytest

from diptych_client import Client, Job
from integration.store_parts import tiny_png
from support.server import RunningServer, serve
from support.tars import tar_of
from support.tiny_bundle import TINY, write_tiny_bundle

N_IMAGES = 1_000
WITHIN_S = 60


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "photos.tar"
    file.write_bytes(tar_of({f"{i:04}.png": tiny_png(i) for i in range(N_IMAGES)}))
    return file


def start_and_kill(server: RunningServer, archive: Path) -> tuple[Job, list[str | None]]:
    """The job, and the ids of the images whose outcomes came before the end."""
    with Client(server.url) as client:
        job = client.add_tar(archive, collection="default")
        deadline = time.monotonic() + WITHIN_S
        while not (told := client.job_outcomes(job.id, limit=1000).outcomes):
            assert time.monotonic() < deadline
        server.process.kill()
        server.process.wait(timeout=WITHIN_S)
    return job, [outcome.id for outcome in told]


def test_killed_job_is_finished_by_the_next_server(tmp_path: Path, archive: Path) -> None:
    repo, data = tmp_path / "model_repo", tmp_path / "data"
    write_tiny_bundle(repo)
    with serve(repo, TINY, data) as server:
        job, told = start_and_kill(server, archive)
    assert 0 < len(told) < N_IMAGES
    with serve(repo, TINY, data) as server, Client(server.url) as client:
        outcomes = []
        ended = client.follow_job(job.id, on_outcome=outcomes.append)
        assert ended.state == "done"
        assert [outcome.index for outcome in outcomes] == list(range(N_IMAGES))
        assert [outcome.id for outcome in outcomes[: len(told)]] == told
        assert {outcome.status for outcome in outcomes} <= {"created", "unchanged"}
        assert client.collection("default").n_images == N_IMAGES
        assert server.stop() == 0
    assert list((data / "jobs").iterdir()) == []

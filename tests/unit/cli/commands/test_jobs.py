"""`diptych jobs`: what it prints, and that an interrupt leaves a job alone."""

import json

import httpx
import pytest

from diptych.cli import INTERRUPTED
from diptych.cli.commands import jobs
from support.command_line import Capture, RunCommand, command_runner
from support.fake_api import FakeApi, ok

JOB = {
    "id": "j1", "collection": "pets", "replace": False, "state": "running", "n_items": 9, "n_done": 2,
    "counts": {"created": 1, "failed": 1}, "created_at": "2026-01-01T00:00:00Z", "finished_at": None,
    "reason": "",
}  # fmt: skip


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on("GET /jobs", ok({"jobs": [JOB]})).on("GET /jobs/j1", ok(JOB))


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    return command_runner(jobs, api, monkeypatch)


def test_jobs_are_listed_and_shown(run: RunCommand, capsys: Capture) -> None:
    assert run("list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "id  collection  state      done  failed  created",
        "j1  pets        running  2 of 9       1  2026-01-01T00:00:00Z",
    ]
    assert run("show", "j1") == 0
    told = "pets: running, 2 of 9 done: 1 created, 0 replaced, 0 unchanged, 1 failed\n"
    assert capsys.readouterr().out == told
    assert run("show", "j1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_done"] == 2


def test_job_is_followed_to_its_end_over_pages(run: RunCommand, api: FakeApi, capsys: Capture) -> None:
    outcomes = [
        {"index": i, "id": str(i), "status": "created", "error": None, "file": None} for i in range(9)
    ]
    done = JOB | {"state": "done", "finished_at": "x", "counts": {"created": 9}, "n_done": 9}
    pages = [
        ok({"job": JOB, "outcomes": outcomes[:2], "next": None}),
        ok({"job": done, "outcomes": outcomes[2:], "next": None}),
    ]
    api.on("GET /jobs/j1/outcomes", *pages)
    assert run("follow", "j1") == 0
    assert capsys.readouterr().out == "pets: 9 created, 0 replaced, 0 unchanged, 0 failed\n"
    assert [request.url.params.get("after") for request in api.requests[1:]] == ["-1", "1"]


def test_job_that_failed_is_a_failure_with_its_reason(run: RunCommand, api: FakeApi, capsys: Capture) -> None:
    failed = JOB | {"state": "failed", "finished_at": "x", "reason": "no collection named 'pets'"}
    api.on("GET /jobs/j1/outcomes", ok({"job": failed, "outcomes": [], "next": None}))
    assert run("follow", "j1") == 1
    printed = capsys.readouterr()
    assert "the job failed: no collection named 'pets'" in printed.err
    assert printed.out.endswith("9 not tried\n")


def test_interrupt_does_not_stop_the_job_and_prints_how_to_resume(
    run: RunCommand, api: FakeApi, capsys: Capture
) -> None:
    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    api.on("GET /jobs/j1/outcomes", interrupt)
    assert run("follow", "j1") == INTERRUPTED
    assert "the job is still running: `diptych jobs follow j1`" in capsys.readouterr().err

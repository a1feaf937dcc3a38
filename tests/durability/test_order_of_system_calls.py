"""The order of system calls, read from a trace, ensures that acknowledged writes survive a loss of power."""

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from durability.system_calls import Call, Trace, traced
from integration.store_parts import tiny_png
from support.server import RunningServer, serve
from support.tars import tar_of
from support.tiny_bundle import EMBED_DIM, TINY, write_tiny_bundle

N_BATCH = 24
SYNCS = {"fsync", "fdatasync"}
RENAMES = {"rename", "renameat", "renameat2"}
SPEAKING = {"send", "sendto", "sendmsg", "write", "writev"}
N_CALLERS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("traced")
    write_tiny_bundle(folder / "repo")
    with serve(folder / "repo", TINY, folder / "data") as running:
        yield running


@dataclass(frozen=True)
class Steps:
    """The system calls of one request, by purpose."""

    files: list[Call]  # fsyncs of image files, under their temporary names
    renames: list[Call]
    folders: list[Call]  # fsyncs of the folders that image files are in
    commits: list[Call]  # fsyncs of the database's log
    removals: list[Call]
    answer: Call


def those_in(trace: Trace, names: set[str], argument: str) -> list[Call]:
    return [call for call in trace.calls() if call.name in names and re.search(argument, call.arguments)]


def answers_in(trace: Trace) -> list[Call]:
    return those_in(trace, SPEAKING, '"HTTP/1.1 20')


def commits_in(trace: Trace) -> list[Call]:
    return those_in(trace, SYNCS, "diptych.sqlite3-wal>")


def steps_of(trace: Trace) -> Steps:
    (answer,) = answers_in(trace)
    return Steps(
        files=those_in(trace, SYNCS, r"/images/../\.tmp-"),
        renames=those_in(trace, RENAMES, r"/images/../\.tmp-\w+\", .*/images/../\w{64}\""),
        folders=those_in(trace, SYNCS, r"/images/..>"),
        commits=commits_in(trace),
        removals=those_in(trace, {"unlink", "unlinkat"}, r"/images/../\w{64}\""),
        answer=answer,
    )


def add(url: str, numbers: range, replace: bool = False) -> httpx.Response:
    files = [("image", (f"{n}.png", tiny_png(n), "image/png")) for n in numbers]
    items = json.dumps([{"id": f"i{index}"} for index in range(len(numbers))])
    path = f"{url}/collections/default/images?replace={'true' if replace else 'false'}"
    answer = httpx.post(path, files=files, data={"items": items}, verify=False)
    assert answer.is_success, answer.text
    return answer


def last(calls: list[Call]) -> float:
    return max(call.ended_s for call in calls)


def first(calls: list[Call]) -> float:
    return min(call.began_s for call in calls)


def test_add_is_file_fsync_rename_folder_fsync_commit_answer(server: RunningServer, tmp_path: Path) -> None:
    with traced(server.process.pid, tmp_path / "trace") as trace:
        add(server.url, range(1))
    steps = steps_of(trace)
    assert (len(steps.files), len(steps.renames)) == (1, 1)
    sha256 = hashlib.sha256(tiny_png(0)).hexdigest()
    assert f"/images/{sha256[:2]}/{sha256}" in steps.renames[0].arguments
    assert any(f"/images/{sha256[:2]}>" in call.arguments for call in steps.folders)
    assert last(steps.files) < first(steps.renames)
    assert last(steps.renames) < first(steps.folders)
    assert last(steps.folders) < first(steps.commits)
    assert last(steps.commits) < steps.answer.began_s


def test_files_of_a_batch_are_fsynced_side_by_side_and_all_before_the_one_commit(
    server: RunningServer, tmp_path: Path
) -> None:
    with traced(server.process.pid, tmp_path / "trace") as trace:
        add(server.url, range(100, 100 + N_BATCH), replace=True)
    steps = steps_of(trace)
    assert len(steps.files) == len(steps.renames) == N_BATCH
    assert len({call.thread for call in steps.files}) > 1
    assert any(one.began_s < other.ended_s and other.began_s < one.ended_s and one.thread < other.thread
               for one in steps.files for other in steps.files)  # fmt: skip
    touched = {re.search(r"/images/(..)/", call.arguments)[1] for call in steps.renames}  # type: ignore[index]
    synced = [match[1] for call in steps.folders if (match := re.search(r"/images/(..)>", call.arguments))]
    assert sorted(synced) == sorted(touched)  # each once
    assert max(last(steps.renames), last(steps.folders)) < first(steps.commits)
    assert len(steps.commits) == 1
    assert last(steps.commits) < steps.answer.began_s


def test_adds_that_wait_together_share_commits_and_are_answered_after_theirs(
    server: RunningServer, tmp_path: Path
) -> None:
    def add_one(n: int) -> None:
        files = {"image": ("x.png", tiny_png(n), "image/png")}
        answer = httpx.post(f"{server.url}/collections/default/images", files=files, verify=False)
        assert answer.is_success, answer.text

    with traced(server.process.pid, tmp_path / "trace") as trace, ThreadPoolExecutor(N_CALLERS) as callers:
        list(callers.map(add_one, range(500, 500 + N_CALLERS)))
    commits, answers = commits_in(trace), answers_in(trace)
    assert len(answers) == N_CALLERS
    assert 1 <= len(commits) < N_CALLERS
    assert min(call.ended_s for call in commits) < min(call.began_s for call in answers)
    assert max(call.ended_s for call in commits) < max(call.began_s for call in answers)


def test_vectors_are_commit_then_answer(server: RunningServer, tmp_path: Path) -> None:
    item = {"id": "v0", "embedding": [1.0] + [0.0] * (EMBED_DIM - 1)}
    body = {"model": {"name": TINY, "version": 1}, "items": [item]}
    with traced(server.process.pid, tmp_path / "trace") as trace:
        answer = httpx.post(f"{server.url}/collections/default/vectors", json=body, verify=False)
        assert answer.is_success, answer.text
    steps = steps_of(trace)
    assert (steps.files, steps.renames, steps.removals) == ([], [], [])
    assert last(steps.commits) < steps.answer.began_s


def test_job_is_input_fsync_rename_folder_fsync_commit_answer(server: RunningServer, tmp_path: Path) -> None:
    archive = tar_of({f"{n}.png": tiny_png(n) for n in range(700, 703)})
    headers = {"content-type": "application/x-tar"}
    with traced(server.process.pid, tmp_path / "trace") as trace:
        url = f"{server.url}/collections/default/images"
        answer = httpx.post(url, content=archive, headers=headers, verify=False)
        assert answer.status_code == 202, answer.text
        job = f"{server.url}/jobs/{answer.json()['id']}"
        while httpx.get(job, verify=False).json()["finished_at"] is None:
            pass
    inputs = those_in(trace, SYNCS, r"/jobs/\.tmp-")
    renames = those_in(trace, RENAMES, r"/jobs/\.tmp-\w+\", .*/jobs/\w+\"")
    folders = those_in(trace, SYNCS, r"/jobs>")
    (accepted,) = those_in(trace, SPEAKING, '"HTTP/1.1 202')
    assert (len(inputs), len(renames), len(folders)) == (1, 1, 1)
    assert last(inputs) < first(renames)
    assert last(renames) < first(folders)
    commits = [call for call in commits_in(trace) if call.began_s > last(folders)]
    assert first(commits) < commits[0].ended_s < accepted.began_s
    images = those_in(trace, SYNCS, r"/images/../\.tmp-")
    assert len(images) == 3
    assert len([call for call in commits if call.began_s > last(images)]) == 2  # rows with outcomes, the end
    (removal,) = those_in(trace, {"unlink", "unlinkat"}, r"/jobs/\w+\"")
    assert len([call for call in commits if call.ended_s < removal.began_s]) == 3  # the first was of the job


def test_delete_is_commit_then_removal_then_answer(server: RunningServer, tmp_path: Path) -> None:
    add(server.url, range(200, 201), replace=True)
    with traced(server.process.pid, tmp_path / "trace") as trace:
        assert httpx.delete(f"{server.url}/collections/default/images/i0", verify=False).status_code == 204
    steps = steps_of(trace)
    sha256 = hashlib.sha256(tiny_png(200)).hexdigest()
    assert [sha256 in call.arguments for call in steps.removals] == [True]
    assert steps.files == []
    assert last(steps.commits) < first(steps.removals)
    assert last(steps.removals) < steps.answer.began_s


def test_patch_is_commit_then_answer(server: RunningServer, tmp_path: Path) -> None:
    add(server.url, range(300, 301), replace=True)
    with traced(server.process.pid, tmp_path / "trace") as trace:
        url = f"{server.url}/collections/default/images/i0"
        assert httpx.patch(url, json={"metadata": {"a": 1}}, verify=False).status_code == 200
    steps = steps_of(trace)
    assert (steps.files, steps.renames, steps.removals) == ([], [], [])
    assert last(steps.commits) < steps.answer.began_s

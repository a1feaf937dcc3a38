"""How a server process ends: what was let in is finished, and nothing is left half done."""

import http.client
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.callers import connect, different_pictures, is_refused, message, metric, wait_until
from support.default_model import DEFAULT_MODEL, MODEL_REPO
from support.fixtures import model_repo_fixture
from support.image_requests import files_of
from support.pictures import noise
from support.server import RunningServer, serve, start
from support.tiny_bundle import TINY, write_tiny_bundle

ROOT = Path(__file__).parents[3]
SIGNALS = [
    signal.SIGTERM,
    pytest.param(signal.SIGINT, marks=pytest.mark.long),
    pytest.param(signal.SIGHUP, marks=pytest.mark.long),
]
ONE_BY_ONE = ["--max-batch-size", "1"]
TIMES_OF_ENDING = 5  # a loaded machine


slow_repo = model_repo_fixture({"precisions": {"fp32": "glacial"}})


class Asking(threading.Thread):
    """Asks in a thread, and keeps what came of it."""

    def __init__(self, url: str, **given: Any) -> None:
        super().__init__()
        self._url, self._given = url, given
        self.answer: httpx.Response | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = httpx.post(self._url, timeout=60, **self._given)
        except httpx.HTTPError as error:
            self.error = error

    def ended(self) -> httpx.Response:
        self.join()
        assert self.answer is not None, self.error
        return self.answer


def wait_until_inside(server: RunningServer, n_items: int = 1) -> None:
    wait_until(lambda: metric(server, "diptych_queue_items", encoder="image") >= n_items)


def exit_status(server: RunningServer, within_s: float) -> int:
    return server.process.wait(timeout=within_s)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_was_let_in_is_finished_and_others_are_refused(
    slow_repo: Path, tmp_path: Path, number: int
) -> None:
    with serve(slow_repo, TINY, tmp_path, *ONE_BY_ONE) as server, connect(server) as idle:
        asking = Asking(f"{server.url}/embed", files=files_of(different_pictures(20)))
        wait_until_inside(server)
        server.process.send_signal(number)
        wait_until(lambda: is_refused(server))
        assert idle.recv(1) == b""
        answer = asking.ended()
        assert (answer.status_code, len(answer.json()["data"])) == (200, 20)
        assert answer.headers["connection"] == "close"
        assert exit_status(server, within_s=5 * TIMES_OF_ENDING) == 0
    assert [line["message"] for line in server.log()][-1] == "stopped"
    assert [line for line in server.log() if line["level"] == "error"] == []


def test_idle_server_ends_at_once(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    with (
        serve(tmp_path / "repo", TINY, tmp_path) as server,
        connect(server) as silent,
        connect(server) as kept,
    ):
        kept.sendall(message(server, "GET", "/healthz"))
        answer = http.client.HTTPResponse(kept)
        answer.begin()
        answer.read()
        server.process.send_signal(signal.SIGTERM)
        assert exit_status(server, within_s=1 * TIMES_OF_ENDING) == 0
        assert (silent.recv(1), kept.recv(1)) == (b"", b"")


def test_what_is_left_after_the_grace_gets_a_503(slow_repo: Path, tmp_path: Path) -> None:
    with serve(slow_repo, TINY, tmp_path, *ONE_BY_ONE, "--grace-s", "1") as server:
        url = f"{server.url}/embed"
        asking = [Asking(url, files=files_of(different_pictures(100, n))) for n in (0, 1000)]
        wait_until_inside(server, 2)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for one in asking:
            answer = one.ended()
            assert (answer.status_code, answer.json()["detail"]) == (503, "the server is stopping")
        assert exit_status(server, within_s=2 * TIMES_OF_ENDING) == 0
        assert time.monotonic() - began >= 1
    assert [line for line in server.log() if line["level"] == "error"] == []


@pytest.mark.long
def test_batch_that_is_slow_and_not_late_does_not_hold_up_the_end(slow_repo: Path, tmp_path: Path) -> None:
    """A batch of 256 takes seconds; nobody waits for it once its request was sent away."""
    flags = ["--max-batch-size", "256", "--max-items", "256", "--grace-s", "0"]
    with serve(slow_repo, TINY, tmp_path, *flags) as server:
        url = f"{server.url}/embed"
        asking = [Asking(url, files=files_of(different_pictures(256, 1000 * n))) for n in range(4)]
        wait_until_inside(server, 256)
        server.process.send_signal(signal.SIGTERM)
        assert {one.ended().status_code for one in asking} == {503}
        assert exit_status(server, within_s=5 * TIMES_OF_ENDING) == 0


def test_second_signal_ends_it_there_and_then(slow_repo: Path, tmp_path: Path) -> None:
    with serve(slow_repo, TINY, tmp_path, *ONE_BY_ONE) as server:
        asking = Asking(f"{server.url}/embed", files=files_of(different_pictures(200)))
        wait_until_inside(server)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_refused(server))
        server.process.send_signal(signal.SIGTERM)
        assert exit_status(server, within_s=1 * TIMES_OF_ENDING) == -signal.SIGTERM
        asking.join()
        assert asking.error is not None


@pytest.mark.long
def test_terminal_that_closes_hangs_up_twice_and_the_stop_stays_orderly(
    slow_repo: Path, tmp_path: Path
) -> None:
    """Its shell sends SIGHUP, and so does the system."""
    with serve(slow_repo, TINY, tmp_path, *ONE_BY_ONE) as server:
        asking = Asking(f"{server.url}/embed", files=files_of(different_pictures(20)))
        wait_until_inside(server)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: is_refused(server))
        server.process.send_signal(signal.SIGHUP)
        assert asking.ended().status_code == 200
        assert exit_status(server, within_s=5 * TIMES_OF_ENDING) == 0


def test_signal_while_the_model_is_loaded_ends_it(slow_repo: Path, tmp_path: Path) -> None:
    process, log_file = start(slow_repo, TINY, tmp_path, "--n-lanes", "0", "--n-threads", "2")
    wait_until(lambda: "listening" in log_file.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=2 * TIMES_OF_ENDING) == 0
    assert '"ready"' not in log_file.read_text()


@pytest.mark.long
def test_real_model_finishes_what_was_let_in(tmp_path: Path) -> None:
    with serve(MODEL_REPO, DEFAULT_MODEL, tmp_path) as server:
        asking = [
            Asking(f"{server.url}/embed", files=files_of(different_pictures(256, 1000 * n))) for n in range(3)
        ]
        wait_until_inside(server)
        server.process.send_signal(signal.SIGTERM)
        answers = [one.ended() for one in asking]
        assert exit_status(server, within_s=2 * TIMES_OF_ENDING) == 0
    statuses = {answer.status_code for answer in answers}  # one may have been on its way only
    assert 200 in statuses
    assert statuses <= {200, 503}
    assert all(len(one.json()["data"]) == 256 for one in answers if one.status_code == 200)


class Adding(threading.Thread):
    """Adds small pictures, a few at a time, until it is refused; remembers which were acknowledged."""

    def __init__(self, url: str, first: int) -> None:
        super().__init__()
        self._url, self._next = f"{url}/collections/default/images", first
        self.acknowledged: list[int] = []
        self.tried: list[int] = []
        self.ends: list[object] = []
        self.start()

    def run(self) -> None:
        with httpx.Client(timeout=60) as client:
            while True:
                seeds = range(self._next, self._next + 4)
                self._next += 4
                self.tried += seeds
                items = json.dumps([{"id": f"i{seed}"} for seed in seeds])
                files: list[Any] = [*files_of([noise(seed) for seed in seeds]), ("items", (None, items))]
                try:
                    answer = client.post(self._url, files=files)
                except httpx.HTTPError as error:
                    self.ends.append(error)
                    return
                if answer.status_code != 200:
                    self.ends.append(answer.status_code)
                    return
                self.acknowledged += seeds


@pytest.mark.parametrize("grace_s", ["30", pytest.param("0", marks=pytest.mark.long)])
def test_every_add_is_whole_or_not_there_and_the_acknowledged_ones_are(tmp_path: Path, grace_s: str) -> None:
    write_tiny_bundle(tmp_path / "repo")
    with serve(tmp_path / "repo", TINY, tmp_path / "data", "--grace-s", grace_s) as server:
        adding = [Adding(server.url, 10_000 * n) for n in range(4)]
        wait_until(lambda: all(len(one.acknowledged) >= 8 for one in adding))
        server.process.send_signal(signal.SIGTERM)
        for one in adding:
            one.join()
        assert exit_status(server, within_s=2 * TIMES_OF_ENDING) == 0
    assert [line for line in server.log() if line["level"] == "error"] == []
    acknowledged = {f"i{seed}" for one in adding for seed in one.acknowledged}
    tried = {f"i{seed}" for one in adding for seed in one.tried}
    with serve(tmp_path / "repo", TINY, tmp_path / "data") as server:
        path = f"{server.url}/collections/default/images"
        there: list[str] = []
        after: str | None = ""
        while after is not None:
            page = httpx.get(path, params={"limit": 100} | ({"after": after} if after else {})).json()
            there += [image["id"] for image in page["images"]]
            after = page["next"]
        assert acknowledged <= set(there) <= tried
        assert httpx.get(f"{server.url}/collections/default").json()["n_images"] == len(there)
        for id in there:
            assert httpx.get(f"{path}/{id}/original").content == noise(int(id[1:]))
    files = [file for file in (tmp_path / "data" / "images").rglob("*") if file.is_file()]
    assert len(files) == len(there)

"""How a server process ends: what was let in is finished, and nothing is left half done."""

import http.client
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.callers import connect, different_pictures, is_refused, message, metric, wait_until
from support.faulty_graphs import grey
from support.fixtures import model_repo_fixture
from support.image_requests import files_of
from support.pictures import picture
from support.server import RunningServer, serve, start
from support.tiny_bundle import TINY, write_tiny_bundle

SIGNALS = [
    signal.SIGTERM,
    pytest.param(signal.SIGINT, marks=pytest.mark.long),
    pytest.param(signal.SIGHUP, marks=pytest.mark.long),
]
ONE_BY_ONE = ["--max-batch-size", "1"]
TIMES_OF_ENDING = 5  # a loaded machine


slow_repo = model_repo_fixture({"precisions": {"fp32": "glacial"}})
hanging_repo = model_repo_fixture({"precisions": {"fp32": "faulty"}})
HANGS = picture(grey("hang"))


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
        asking = Asking(f"{server.url}/embed", files=files_of(different_pictures(8)))
        wait_until_inside(server)
        server.process.send_signal(number)
        wait_until(lambda: is_refused(server))
        assert idle.recv(1) == b""
        answer = asking.ended()
        assert (answer.status_code, len(answer.json()["data"])) == (200, 8)
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


def test_what_is_left_after_the_grace_gets_a_503(hanging_repo: Path, tmp_path: Path) -> None:
    stopped = {"diptych.wiring.version.ENCODE_TIMEOUT_S": 3}
    with serve(hanging_repo, TINY, tmp_path, *ONE_BY_ONE, "--grace-s", "1", constants=stopped) as server:
        url = f"{server.url}/embed"
        asking = [Asking(url, files=files_of([HANGS, picture(colour)])) for colour in ("red", "blue")]
        wait_until_inside(server, 3)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for one in asking:
            answer = one.ended()
            assert (answer.status_code, answer.json()["detail"]) == (503, "the server is stopping")
        assert exit_status(server, within_s=3 * TIMES_OF_ENDING) == 0
        assert time.monotonic() - began >= 1
    assert [line for line in server.log() if line["level"] == "error"] == []


def test_second_signal_ends_it_there_and_then(hanging_repo: Path, tmp_path: Path) -> None:
    with serve(hanging_repo, TINY, tmp_path, *ONE_BY_ONE) as server:
        asking = Asking(f"{server.url}/embed", files=files_of([HANGS, picture("red")]))
        wait_until_inside(server)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_refused(server))
        server.process.send_signal(signal.SIGTERM)
        assert exit_status(server, within_s=1 * TIMES_OF_ENDING) == -signal.SIGTERM
        asking.join()
        assert asking.error is not None


def test_signal_while_the_model_is_loaded_ends_it(slow_repo: Path, tmp_path: Path) -> None:
    process, log_file = start(slow_repo, TINY, tmp_path, "--n-lanes", "0", "--n-threads", "2")
    wait_until(lambda: "listening" in log_file.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=2 * TIMES_OF_ENDING) == 0
    assert '"ready"' not in log_file.read_text()

"""A server under overload refuses requests, keeps its memory within bounds, and recovers."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from support.fixtures import model_repo_fixture
from support.pictures import noise
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

QUEUE = ("--max-items", "16", "--max-queue-items", "32")
MB = 2**20


model_repo = model_repo_fixture({"precisions": {"fp32": "slow"}})


@dataclass
class Answers:
    """The responses to many concurrent requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    retries: Counter[str | None] = field(default_factory=Counter)
    media_types: set[str | None] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, response: http.client.HTTPResponse) -> None:
        response.read()
        with self.lock:
            self.statuses[response.status] += 1
            if response.status != 200:
                self.retries[response.getheader("Retry-After")] += 1
                self.media_types.add(response.getheader("Content-Type"))


def load(server: RunningServer, image: bytes, n_clients: int, go_on: Callable[[int], bool]) -> Answers:
    """Run clients that send the next request at once, each while `go_on(number of its requests)`."""
    answers = Answers()

    def ask() -> None:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
        n_asked = 0
        while go_on(n_asked):
            connection.request("POST", "/embed", image, {"Content-Type": "image/png"})
            answers.add(connection.getresponse())
            n_asked += 1
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def rate(server: RunningServer, image: bytes, seconds: float) -> float:
    """Return images per second with as many clients as the queue holds easily."""
    until = time.monotonic() + seconds
    answers = load(server, image, 8, lambda n_asked: time.monotonic() < until)
    assert set(answers.statuses) == {200}
    return answers.statuses[200] / seconds


def resident_mb(server: RunningServer) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def burst_and_after(server: RunningServer, n_requests: int, window_s: float) -> None:
    n_clients, image = 100, noise(0, (300, 300))  # of 270 kB
    load(server, image, n_clients, lambda n_asked: n_asked < 3)  # buffers that later bursts use again
    before_mb, before = resident_mb(server), rate(server, image, window_s)
    with ThreadPoolExecutor(1) as pool:
        burst = pool.submit(load, server, image, n_clients, lambda n_asked: n_asked < n_requests // n_clients)
        highest_mb = before_mb
        while not burst.done():
            assert httpx.get(f"{server.url}/readyz").status_code == 200
            highest_mb = max(highest_mb, resident_mb(server))
            time.sleep(0.05)
    answers = burst.result()
    after, after_mb = rate(server, image, window_s), resident_mb(server)
    print(f"{dict(answers.statuses)}, Retry-After {dict(answers.retries)}")
    print(f"{before:.0f} images/s before, {after:.0f} after: {after / before:.2f}")
    print(f"{before_mb:.0f} MB before, at most {highest_mb:.0f} in the burst, {after_mb:.0f} after")
    assert set(answers.statuses) == {200, 429}
    assert answers.statuses.total() == n_requests
    assert answers.media_types == {"application/problem+json"}
    assert all(retry is not None and 1 <= int(retry) <= 60 for retry in answers.retries)
    assert highest_mb - before_mb < 60, "what is held is bounded, however many ask"
    assert after > before / 5, "a burst leaves nothing behind that slows it down"
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'diptych_rejected_total{reason="decode_full"}' in metrics
    assert 'diptych_queue_items{encoder="image"} 0.0' in metrics


def test_requests_beyond_the_queue_are_refused_and_leave_nothing_behind(
    model_repo: Path, tmp_path: Path
) -> None:
    with serve(model_repo, TINY, tmp_path, *QUEUE) as server:
        burst_and_after(server, 400, 0.5)
        assert server.stop() == 0


@pytest.mark.long
def test_burst_of_two_thousand_requests_leaves_nothing_behind(model_repo: Path, tmp_path: Path) -> None:
    with serve(model_repo, TINY, tmp_path, *QUEUE) as server:
        burst_and_after(server, 2000, 4)
        assert server.stop() == 0


@pytest.mark.long
def test_clients_that_hang_up_in_a_burst_leave_nothing_behind(model_repo: Path, tmp_path: Path) -> None:
    """The bodies are complete, and some images are waiting to be decoded."""
    image = noise(0, (300, 300))
    length = f"Content-Length: {len(image)}"
    head = f"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n{length}\r\n\r\n"
    with serve(model_repo, TINY, tmp_path, *QUEUE) as server:
        address = urlsplit(server.url)

        def ask_and_leave(_: int) -> None:
            connection = http.client.HTTPConnection(address.netloc, timeout=60)
            connection.connect()
            connection.sock.sendall(head.encode() + image)
            connection.close()

        with ThreadPoolExecutor(50) as pool:
            list(pool.map(ask_and_leave, range(200)))
            before_mb = resident_mb(server)
            list(pool.map(ask_and_leave, range(2000)))
        after_mb = resident_mb(server)
        print(f"{before_mb:.0f} MB before, {after_mb:.0f} after")
        assert after_mb - before_mb < 60
        assert rate(server, image, 1) > 0
        assert 'diptych_queue_items{encoder="image"} 0.0' in httpx.get(f"{server.url}/metrics").text
        assert server.stop() == 0

"""A server under overload refuses requests, keeps its memory within bounds, and recovers."""

import http.client
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from support.fixtures import model_repo_fixture
from support.pictures import noise
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

QUEUE = ("--max-items", "16", "--max-queue-items", "32")


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


def load(server: RunningServer, image: bytes, n_clients: int, n_requests: int) -> Answers:
    """Run clients of which each sends so many requests, one right after the other."""
    answers = Answers()

    def ask() -> None:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
        for _ in range(n_requests):
            connection.request("POST", "/embed", image, {"Content-Type": "image/png"})
            answers.add(connection.getresponse())
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def resident_mb(server: RunningServer) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def test_requests_beyond_the_queue_are_refused_and_leave_nothing_behind(
    model_repo: Path, tmp_path: Path
) -> None:
    n_clients, n_requests, image = 100, 400, noise(0, (300, 300))  # of 270 kB
    with serve(model_repo, TINY, tmp_path, *QUEUE) as server, ThreadPoolExecutor(1) as pool:
        load(server, image, n_clients, 3)  # buffers that later bursts use again
        highest_mb = before_mb = resident_mb(server)
        burst = pool.submit(load, server, image, n_clients, n_requests // n_clients)
        while not burst.done():
            assert httpx.get(f"{server.url}/readyz").status_code == 200
            highest_mb = max(highest_mb, resident_mb(server))
            time.sleep(0.05)
        answers = burst.result()
        assert set(answers.statuses) == {200, 429}
        assert answers.statuses.total() == n_requests
        assert answers.media_types == {"application/problem+json"}
        assert all(retry is not None and 1 <= int(retry) <= 60 for retry in answers.retries)
        assert highest_mb - before_mb < 60, "what is held is bounded, however many ask"
        assert load(server, image, 8, 2).statuses == {200: 16}, "no more clients than the queue holds"
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'diptych_rejected_total{reason="decode_full"}' in metrics
        assert 'diptych_queue_items{encoder="image"} 0.0' in metrics
        assert server.stop() == 0

"""What the load generator says of a server whose pace is known."""

import http.server
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from benchmarks.load import Requests, in_turns, post_json, rate, window
from benchmarks.servers import Program, Running, running

DELAY_S = 0.01


@contextmanager
def known_server(status_of: Iterator[int]) -> Iterator[Running]:
    """Answers one request after the other, each after the same delay, with the next status."""
    turn = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with turn:
                time.sleep(DELAY_S)
                status = next(status_of)
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Running("known", server.server_address[1], os.getpid(), 0.0, Path())
        finally:
            server.shutdown()
            thread.join()


def test_rate_and_latency_are_those_of_the_server() -> None:
    with known_server(200 for _ in count()) as server:
        found = window(server, Requests([post_json("/", {})], n_items=3), 4, 0.5, warm_s=0.1)
    # One after the other: no more than a hundred a second, whoever asks; each waits for three others.
    assert 0 < found.per_s <= 3 * 1.05 / DELAY_S
    assert found.p50_ms >= 4 * 1000 * DELAY_S * 0.9
    assert found.p99_ms >= found.p50_ms
    assert found.resident_mb > 0
    assert found.n_errors == 0


def test_errors_are_counted_and_are_no_answers() -> None:
    statuses = (500 if number % 2 else 200 for number in count())
    with known_server(statuses) as server:
        found = window(server, Requests([post_json("/", {})]), 1, 0.3, warm_s=0.0)
    assert found.n_errors > 0
    assert found.errors[0] == "500 ok"
    assert found.per_s <= 0.55 / DELAY_S


def test_request_at_an_edge_counts_by_its_part_inside() -> None:
    assert rate([(0.0, 2.0), (1.0, 2.0), (5.0, 6.0)], 1.0, 3.0) == pytest.approx((0.5 + 1.0) / 2)


def test_what_is_compared_takes_turns_and_neither_is_always_first() -> None:
    said: list[str] = []
    found = in_turns(3, [lambda: said.append("a"), lambda: said.append("b")])
    assert said == ["a", "b", "b", "a", "a", "b"]
    assert [len(one) for one in found] == [3, 3]


def test_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = Program("broken", ("sh", "-c", "echo 'no model here' >&2; exit 3"))
    with pytest.raises(RuntimeError, match="broken ended with 3: no model here"), running(broken):
        pass

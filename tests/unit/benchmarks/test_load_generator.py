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

from benchmarks.load import Requests, in_turns, percentile, post_json, rate, summed_up, window
from benchmarks.servers import Program, Running, cpu_seconds, resident_bytes, running

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


def test_requests_of_a_sequence_come_again_and_those_of_an_iterator_once() -> None:
    again, once = Requests([b"a", b"b"]), Requests(iter([b"a", b"b"]))
    assert [next(again) for _ in range(3)] == [b"a", b"b", b"a"]
    assert [next(once) for _ in range(2)] == [b"a", b"b"]


def test_request_at_an_edge_counts_by_its_part_inside() -> None:
    assert rate([(0.0, 2.0), (1.0, 2.0), (5.0, 6.0)], 1.0, 3.0) == pytest.approx((0.5 + 1.0) / 2)


def test_processor_time_is_told_for_each_item() -> None:
    found = summed_up([(0.0, 1.0), (1.0, 2.0)], 0.0, 2.0, cpu_s=0.4, n_items=4, resident=5e6)
    assert found.per_s == pytest.approx(4.0)
    assert found.cpu_ms == pytest.approx(50.0)
    assert found.resident_mb == 5.0


def test_percentile_is_the_nearest_rank() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert percentile(list(range(1, 101)), 0.99) == 99


def test_what_is_compared_takes_turns_and_neither_is_always_first() -> None:
    said: list[str] = []
    found = in_turns(3, [lambda: said.append("a"), lambda: said.append("b")])
    assert said == ["a", "b", "b", "a", "a", "b"]
    assert [len(one) for one in found] == [3, 3]


def test_processor_time_and_memory_of_children_count() -> None:
    before = cpu_seconds(os.getpid())
    sum(number * number for number in range(2_000_000))
    assert cpu_seconds(os.getpid()) > before
    assert resident_bytes(os.getpid()) > 10_000_000
    assert resident_bytes(2**22 + 1) == 0, "of a process that is not there"


def test_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = Program("broken", ("sh", "-c", "echo 'no model here' >&2; exit 3"))
    with pytest.raises(RuntimeError, match="broken ended with 3: no model here"), running(broken):
        pass

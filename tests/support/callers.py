"""Callers of a server process that do as no client library would: they stall, drip and vanish."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from support.pictures import noise
from support.server import RunningServer

WITHIN_S = 60


def files_of(payloads: Sequence[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    """Images as the `image` parts of a form, for httpx."""
    return [("image", ("x", payload)) for payload in payloads]


def different_pictures(n: int, first: int = 0) -> list[bytes]:
    """No two are equal, as equal ones are encoded once."""
    return [noise(seed) for seed in range(first, first + n)]


def message(server: RunningServer, method: str, path: str, **given: Any) -> bytes:
    """A whole request as bytes; `given` as httpx takes it."""
    request = httpx.Request(method, f"{server.url}{path}", **given)
    body = request.read()
    lines = [f"{method} {request.url.raw_path.decode()} HTTP/1.1"]
    lines += [f"{name.decode()}: {value.decode()}" for name, value in request.headers.raw]
    return "\r\n".join([*lines, "", ""]).encode() + body


def connect(server: RunningServer) -> socket.socket:
    """A plain connection."""
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=WITHIN_S)


def is_refused(server: RunningServer) -> bool:
    """Whether it listens no more."""
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def connected(server: RunningServer, n: int) -> Iterator[list[socket.socket]]:
    """Many connections, closed at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(server)) for _ in range(n)]


def metric(server: RunningServer, name: str, **labels: str) -> float:
    """The value of one sample of /metrics; 0 when there is none."""
    text = httpx.get(f"{server.url}/metrics").text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    found = [one.value for one in samples if one.name == name and labels.items() <= one.labels.items()]
    return sum(found)


def wait_until(condition: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Ask again and again."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)

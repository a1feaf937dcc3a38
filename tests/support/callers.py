"""Callers of a server process that behave badly: they stall, send slowly and disconnect."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from support.pictures import noise
from support.server import RunningServer

WITHIN_S = 60


def different_pictures(n: int, first: int = 0) -> list[bytes]:
    """Return pictures that all differ, since equal ones are encoded only once."""
    return [noise(seed) for seed in range(first, first + n)]


def message(server: RunningServer, method: str, path: str, **given: Any) -> bytes:
    """Return a whole request as bytes. `given` are arguments of httpx."""
    request = httpx.Request(method, f"{server.url}{path}", **given)
    body = request.read()
    lines = [f"{method} {request.url.raw_path.decode()} HTTP/1.1"]
    lines += [f"{name.decode()}: {value.decode()}" for name, value in request.headers.raw]
    return "\r\n".join([*lines, "", ""]).encode() + body


def connect(server: RunningServer) -> socket.socket:
    """Open a plain connection."""
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=WITHIN_S)


def is_refused(server: RunningServer) -> bool:
    """Whether the server has stopped listening."""
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def connected(server: RunningServer, n: int) -> Iterator[list[socket.socket]]:
    """Open many connections and close them at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(server)) for _ in range(n)]


def metric(server: RunningServer, name: str, **labels: str) -> float:
    """Return the value of one sample of /metrics; 0 if it is missing."""
    text = httpx.get(f"{server.url}/metrics").text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    found = [one.value for one in samples if one.name == name and labels.items() <= one.labels.items()]
    return sum(found)


def wait_until(condition: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)

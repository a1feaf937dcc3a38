"""Who sends nothing, or hardly anything, or never reads, holds up nobody. A server process."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from diptych.core.jobs.service import MAX_WAITING
from support.callers import connect, connected, message, wait_until
from support.image_requests import files_of
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tars import tar_of
from support.tiny_bundle import TINY

N_IDLE = 500
MAX_BODY_BYTES = 20_000_000
JSON = "application/json"


@pytest.fixture(scope="module")
def server(model_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    flags = ["--keep-alive-s=1", f"--max-body-bytes={MAX_BODY_BYTES}"]
    short = {"header_timeout_s": 1, "body_timeout_s": 1, "diptych.cli.process.server.WRITE_TIMEOUT_S": 1}
    with serve(model_repo, TINY, tmp_path_factory.mktemp("data"), *flags, constants=short) as server:
        yield server


def answer_on(caller: socket.socket) -> http.client.HTTPResponse:
    answer = http.client.HTTPResponse(caller)
    answer.begin()
    return answer


def n_open(server: RunningServer) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_five_hundred_connections_that_go_no_further_stop_nobody(model_repo: Path, tmp_path: Path) -> None:
    with serve(model_repo, TINY, tmp_path, constants={"header_timeout_s": 60}) as server:
        n_before = n_open(server)
        with connected(server, N_IDLE) as idle:
            for caller in idle[::2]:
                caller.sendall(b"POST /embed HTTP/1.1\r\nHo")
            for n in range(20):
                answer = httpx.post(f"{server.url}/embed", json={"input": [{"text": f"word {n}"}]})
                assert answer.status_code == 200
            assert n_open(server) >= N_IDLE
        wait_until(lambda: n_open(server) <= n_before + 1)


def test_uploads_that_drip_take_no_place_among_jobs(server: RunningServer) -> None:
    inputs, path = server.log_file.parent / "jobs", "/collections/default/images"
    kinds = [("application/x-tar", b"x"), ("multipart/form-data; boundary=b", image_parts(66))]
    with connected(server, 2 * (MAX_WAITING + 1)) as dripping:
        for n, caller in enumerate(dripping):
            content_type, begin = kinds[n % 2]
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
            caller.sendall(f"{head}Content-Length: 900000\r\n\r\n".encode() + begin)
        wait_until(lambda: len(list(inputs.iterdir())) == len(dripping))
        archive = tar_of({"cat.png": picture("red")})
        answer = httpx.post(
            f"{server.url}{path}",
            content=archive,
            headers={"Content-Type": "application/x-tar"},
        )
        assert answer.status_code == 202, answer.text
        wait_until(lambda: httpx.get(f"{server.url}{answer.headers['location']}").json()["state"] == "done")
    wait_until(lambda: not list(inputs.iterdir()))


def image_parts(n: int) -> bytes:
    return b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\nx\r\n" * n


def test_answer_that_nobody_reads_is_let_go(server: RunningServer) -> None:
    large = noise(0, (2400, 1600))
    path = "/collections/default/images"
    (outcome,) = httpx.post(f"{server.url}{path}", files=files_of([large])).json()["outcomes"]
    with connect(server) as caller:
        caller.sendall(message(server, "GET", f"{path}/{outcome['id']}/original"))
        wait_until(lambda: has_unread(server))
        wait_until(lambda: not has_unread(server))
        read = b"".join(iter(lambda: _read(caller), b""))
        assert 0 < len(read) < len(large)
    assert httpx.get(f"{server.url}{path}/{outcome['id']}/original").content == large


def has_unread(server: RunningServer) -> bool:
    """Whether the system keeps bytes of the server that a caller has not taken."""
    port = urlsplit(server.url).port
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and int(row[4].split(":")[0], 16) for row in rows)


def _read(caller: socket.socket) -> bytes:
    try:
        return caller.recv(1_000_000)
    except ConnectionError:
        return b""


# Each is larger than a body may be; none is anything that its parser would refuse for another reason early.
ENDLESS: dict[str, tuple[str, bytes]] = {
    "json": (JSON, b" "),
    "form": ("multipart/form-data; boundary=b", b"x"),
    "image": ("image/png", picture("red")),
    "text": ("text/plain", b"x"),
}


@pytest.mark.parametrize("kind", list(ENDLESS))
def test_bytes_are_counted_before_they_are_parsed_with_and_without_a_length(
    server: RunningServer, kind: str
) -> None:
    content_type, filling = ENDLESS[kind]
    start = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n' if kind == "form" else filling
    head = f"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
    with connect(server) as caller:
        caller.sendall(f"{head}Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode())
        assert answer_on(caller).status == 413  # before a byte of it has come
    chunk = (filling * 1_000_000)[:1_000_000]
    with connect(server) as caller:
        caller.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for piece in [start, *[chunk] * (MAX_BODY_BYTES // len(chunk) + 1)]:
            caller.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        assert answer_on(caller).status == 413


def test_length_that_lies_is_found_out(server: RunningServer) -> None:
    body = b'{"input": [{"text": "red"}]}'
    cases: list[tuple[Any, int]] = [(len(body) - 5, 400), (len(body) + 5, 408), ("-1", 400), ("1e3", 400)]
    for length, status in cases:
        with connect(server) as caller:
            head = f"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {JSON}\r\n"
            caller.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
            assert answer_on(caller).status == status, length


def test_length_beside_chunks_is_refused_as_it_hides_a_second_request(server: RunningServer) -> None:
    with connect(server) as caller:
        caller.sendall(
            b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        )
        answer = answer_on(caller)
        assert (answer.status, answer.headers["connection"]) == (400, "close")

"""The committed configuration of nginx in front of a server process."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from support.callers import wait_until
from support.nginx import needs_nginx, nginx
from support.pictures import noise
from support.server import RunningServer, serve
from support.tars import tar_of
from support.tiny_bundle import TINY, write_tiny_bundle

IMAGES = "/collections/default/images"
VERSIONS = "/models/mine/versions"
TAR = {"Content-Type": "application/x-tar"}
pytestmark = needs_nginx


@dataclass(frozen=True)
class Proxied:
    """A server that trusts the nginx before it."""

    server: RunningServer
    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def clients(self) -> list[Any]:
        """Whom the access log names, in turn."""
        return [line["client"] for line in self.server.log() if "client" in line]

    def connect(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=60)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("nginx")
    write_tiny_bundle(folder / "model_repo", precisions={"fp32": "glacial"})
    flags, patient = ["--trusted-proxies", "127.0.0.1"], {"header_timeout_s": 60}
    less = {"client_header_timeout 10s;": "client_header_timeout 1s;"}
    with (
        serve(folder / "model_repo", TINY, folder / "data", *flags, constants=patient) as server,
        nginx(folder, server.url.removeprefix("http://"), changes=less) as address,
    ):
        yield Proxied(server, address)


def post_text(url: str, address: str, **headers: str) -> int:
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(transport=transport, headers=headers) as client:
        return client.post(f"{url}/embed", json={"input": [{"text": "red"}]}).status_code


def test_request_goes_through_and_its_callers_address_is_known(proxied: Proxied) -> None:
    assert post_text(proxied.url, "127.0.0.2", **{"X-Forwarded-For": "10.0.0.1"}) == 200
    wait_until(lambda: proxied.clients()[-1:] == ["127.0.0.2"])
    assert post_text(proxied.server.url, "127.0.0.3", **{"X-Forwarded-For": "10.0.0.1"}) == 200
    wait_until(lambda: proxied.clients()[-1:] == ["127.0.0.3"])  # whatever others than the proxy say


def test_head_that_does_not_come_is_cut_off_by_the_proxy(proxied: Proxied) -> None:
    with proxied.connect() as caller:
        caller.sendall(b"POST /embed HTTP/1.1\r\nHo")
        assert caller.recv(1000).partition(b"\r\n")[0] in {b"", b"HTTP/1.1 408 Request Time-out"}


@pytest.mark.parametrize(
    ("path", "limit"), [("/embed", 100_000_000), (IMAGES, 2_000_000_000), (VERSIONS, 4_000_000_000)]
)
def test_body_over_the_limit_is_refused_before_it_is_sent(proxied: Proxied, path: str, limit: int) -> None:
    with proxied.connect() as caller:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-tar\r\n"
        caller.sendall(f"{head}Content-Length: {limit + 1}\r\n\r\n".encode())
        answer = caller.recv(1000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"nginx" in answer


def test_bulk_add_reaches_the_server_as_it_comes(proxied: Proxied) -> None:
    inputs = proxied.server.log_file.parent / "jobs"
    before = len(list(inputs.iterdir())) if inputs.exists() else 0
    with proxied.connect() as caller:
        head = f"POST {IMAGES} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-tar\r\n"
        caller.sendall(f"{head}Content-Length: 900000000\r\n\r\n".encode() + b"x" * 300_000)
        wait_until(lambda: len(list(inputs.iterdir())) > before)
    wait_until(lambda: len(list(inputs.iterdir())) == before)


def test_events_of_a_job_come_while_it_runs(proxied: Proxied) -> None:
    archive = tar_of({f"{n}.png": noise(n) for n in range(70)})
    job = httpx.post(f"{proxied.url}{IMAGES}", content=archive, headers=TAR).headers["location"]
    with httpx.stream("GET", f"{proxied.url}{job}/events", timeout=60) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if line == "event: outcome")
        assert httpx.get(f"{proxied.url}{job}").json()["state"] == "running"
        next(line for line in lines if line == "event: end")

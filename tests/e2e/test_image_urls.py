"""Image URLs over a real server: off unless turned on, and its own machine cannot be reached by one."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from support.server import RunningServer, serve, start
from support.tiny_bundle import TINY, write_tiny_bundle

SECRET = "s3cret"


@pytest.fixture(scope="module")
def inside() -> Iterator[tuple[int, list[str]]]:
    """A service on this machine that only this machine should reach: its port, and who came by."""
    came: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            came.append(self.path)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

        def handle(self) -> None:
            came.append("a connection")

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        running = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        running.start()
        yield server.server_address[1], came
        server.shutdown()
        running.join()


def ask(server: RunningServer, url: str) -> tuple[int, str]:
    answer = httpx.post(
        f"{server.url}/embed", json={"input": [{"text": "a"}, {"image": url}]}, trust_env=False
    )
    problem = answer.json()
    assert (answer.headers["content-type"], problem["item"]) == ("application/problem+json", "input[1]")
    return answer.status_code, problem["detail"]


def test_turned_on_it_reaches_nothing_of_its_own_machine(
    tmp_path: Path, inside: tuple[int, list[str]]
) -> None:
    port, came = inside
    write_tiny_bundle(tmp_path / "model_repo")
    hosts = f"localhost:{port}, 127.0.0.1:{port}, localhost"
    flags = ["--log-format", "json", "--image-urls", hosts]
    with serve(tmp_path / "model_repo", TINY, tmp_path / "data", *flags) as server:
        for url, words in (
            (f"https://localhost:{port}/", "no address, or not only public ones"),
            ("https://localhost/", "no address, or not only public ones"),
            (f"https://127.0.0.1:{port}/", "not public (loopback)"),
            (f"https://0x7f.1:{port}/", "not public (loopback)"),
            (f"https://[::1]:{port}/", "not be fetched from this host"),
            ("https://images.example/", "not be fetched from this host"),
            (f"http://localhost:{port}/", "must begin with https://"),
        ):
            status, detail = ask(server, f"{url}?key={SECRET}")
            assert (status, words in detail) == (422, True), detail
        assert came == []
        assert SECRET not in server.log_file.read_text()
        metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
        assert 'stage="fetch"' in metrics
        assert SECRET not in metrics


def test_hosts_that_cannot_be_read_keep_the_server_from_starting(tmp_path: Path) -> None:
    process, log_file = start(tmp_path, TINY, tmp_path / "data", "--image-urls", "https://images.example")
    assert process.wait(timeout=60) == 2
    assert "--image-urls: 'https://images.example' is no host name" in log_file.read_text()

"""The health check of the image, run as the image runs it."""

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from support.image_host import write_certificate

CHECK = Path(__file__).parents[3] / "docker" / "healthcheck.py"


@contextmanager
def answering(status: int, body: bytes, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run a server on loopback that answers every GET alike. Yield its port."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
    assert set(asked) <= {"/readyz"}


def check(port: int, host: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", CHECK], env={"DIPTYCH_PORT": str(port), "DIPTYCH_HOST": host, **more},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_ready_server_is_healthy_wherever_it_listens(host: str) -> None:
    with answering(200, b'{"status": "ready"}') as port:
        found = check(port, host)
    assert (found.returncode, found.stdout) == (0, '200 {"status": "ready"}\n')


def test_server_that_speaks_tls_is_asked_by_tls(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with answering(200, b"ready", tls) as port:
        found = check(port, "0.0.0.0", DIPTYCH_TLS_CERT=str(certificate))
    assert (found.returncode, found.stdout) == (0, "200 ready\n")


def test_server_that_is_not_ready_is_not_healthy_and_the_reason_is_shown() -> None:
    with answering(503, b"the canary failed") as port:
        found = check(port, "0.0.0.0")
    assert (found.returncode, found.stdout) == (1, "503 the canary failed\n")


def test_absent_server_is_not_healthy() -> None:
    with answering(200, b"") as port:
        pass
    found = check(port, "0.0.0.0")
    assert found.returncode == 1
    assert found.stdout.startswith("no answer: ConnectionRefusedError")
    assert found.stderr == ""

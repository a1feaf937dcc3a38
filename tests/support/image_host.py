"""A host of images on loopback that speaks TLS, its certificate made on the spot. Knows no server of ours."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from support.pictures import noise, picture

NAME = "images.example"
ADDRESS = "203.0.114.7"  # what the name resolves to in these tests: public, and never really dialled
RED = picture("red")
N_ENDLESS_CHUNKS = 1_000
CHUNK = b"x" * 10_000


@dataclass
class Seen:
    """One request as it arrived: the name that TLS was asked for, the path, and headers in lower case."""

    sni: str | None
    path: str
    headers: dict[str, str]


@dataclass
class ImageHost:
    """`tls` trusts its certificate, which is for images.example and *.cdn.example. Bytes sent are counted.

    `left` has the path of every request whose caller went away while it was being answered, "" for one who
    went before asking. A caller's end is heard of later, in the connection's own thread: a test that counts
    has a host of its own, lest it count what an earlier one left behind.
    """

    port: int
    tls: ssl.SSLContext
    seen: list[Seen] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    n_bytes_sent: int = 0

    @property
    def paths(self) -> list[str]:
        """Of all requests so far."""
        return [one.path for one in self.seen]


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of images.example and *.cdn.example, signed by itself."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},DNS:*.cdn.example"]
    files = ["-addext", "keyUsage=digitalSignature,keyCertSign", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *kind.split(), *names, *files], check=True, capture_output=True)
    return certificate, key


@contextmanager
def image_host(certificate: Path, key: Path) -> Iterator[ImageHost]:
    """A running host; see `_Handler` for its paths, and `write_certificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = _Server(("127.0.0.1", 0), _Handler)
    trusting = ssl.create_default_context(cafile=str(certificate))
    server.host = ImageHost(server.server_address[1], trusting)
    server.names, server.context = {}, context
    context.sni_callback = server.remember
    running = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    running.start()
    try:
        yield server.host
    finally:
        server.shutdown()
        server.server_close()
        running.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    host: ImageHost
    names: dict[int, str | None]
    context: ssl.SSLContext

    def remember(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self.names[id(connection)] = name

    def finish_request(self, request: object, client_address: object) -> None:
        """The handshake in the connection's own thread: one that never comes holds up nobody."""
        assert isinstance(request, socket.socket)
        try:
            secured = self.context.wrap_socket(request, server_side=True)
        except OSError:
            self.host.left.append("")
        else:
            with suppress(OSError), secured:
                super().finish_request(secured, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that hung up is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    """`/red.png`; `/status/N`; `/to/LOCATION` (quoted) redirects; `/loop`; the others as they are named."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        self.raw_requestline = b""
        try:
            super().handle()
        finally:
            if not self.raw_requestline:
                self.server.host.left.append("")

    def do_GET(self) -> None:  # the name is http.server's
        host, connection = self.server.host, self.connection
        headers = {name.lower(): value for name, value in self.headers.items()}
        host.seen.append(Seen(self.server.names.get(id(connection)), self.path, headers))
        kind, _, rest = self.path.lstrip("/").partition("/")
        answer = getattr(self, f"_{kind.partition('?')[0].replace('.', '_').replace('-', '_')}", None)
        if answer is None:
            self._send(404, b"the secret of an internal page")
        else:
            try:
                answer(rest)
            except OSError:  # it was gone before the head was out, or while an answer was
                host.left.append(self.path)
        self.close_connection = True

    def _red_png(self, _: str) -> None:
        self._send(200, RED, {"Set-Cookie": "a=b; Path=/"})

    def _large_png(self, _: str) -> None:
        self._send(200, picture("red", size=(200, 200)))

    def _noise(self, seed: str) -> None:
        self._send(200, noise(int(seed)))

    def _empty(self, _: str) -> None:
        self._send(200, b"")

    def _status(self, number: str) -> None:
        self._send(int(number), b"the secret of an internal page")

    def _to(self, location: str) -> None:
        self._send(302, b"", {"Location": unquote(location), "Set-Cookie": "a=b; Path=/"})

    def _loop(self, _: str) -> None:
        self._send(307, b"", {"Location": "/loop"})

    def _nowhere(self, _: str) -> None:
        self._send(301, b"")

    def _page(self, _: str) -> None:
        self._send(200, b"the secret of an internal page", {"Content-Type": "text/html"})

    def _compressed(self, _: str) -> None:
        self._send(200, RED, {"Content-Encoding": "gzip"})

    def _declared_large(self, _: str) -> None:
        self._head(200, {"Content-Length": "1000000000"})
        self._pour()

    def _endless(self, _: str) -> None:
        self._head(200, {"Transfer-Encoding": "chunked"})
        self._pour(chunked=True)

    def _cut_off(self, _: str) -> None:
        self._head(200, {"Content-Length": "5000"})
        self.wfile.write(b"x" * 100)

    def _hang(self, _: str) -> None:
        self._until_hangup()

    def _drip(self, _: str) -> None:
        self._head(200, {"Content-Length": "40000"})
        self._until_hangup(b"x")

    def _garbage(self, _: str) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.9 the secret of an internal service\r\n\r\n")

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _pour(self, *, chunked: bool = False) -> None:
        frame = b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK) if chunked else CHUNK
        try:
            for _ in range(N_ENDLESS_CHUNKS):
                self.wfile.write(frame)
                self.server.host.n_bytes_sent += len(CHUNK)
        except OSError:
            self.server.host.left.append(self.path)

    def _until_hangup(self, drop: bytes = b"") -> None:
        self.connection.settimeout(0.02)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if drop:
                    self.wfile.write(drop)
                if self.connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            return
        self.server.host.left.append(self.path)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: tests look at what was seen."""

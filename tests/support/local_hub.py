"""A hub of models on this machine that serves folders; knows just the calls that fetching a snapshot makes.

with local_hub({"someone/model": folder}) as hub:
    fetch_checkpoint("someone/model", None, offline=False, endpoint=hub.url, cache=tmp_path)
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class LocalHub:
    """`fetched` are the files whose bytes were asked for, in any order."""

    models: dict[str, Path]
    url: str = ""
    fetched: list[str] = field(default_factory=list)


@contextmanager
def local_hub(models: dict[str, Path]) -> Iterator[LocalHub]:
    """Serve on a free port until the block ends."""
    hub = LocalHub(models)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        owner_and_name = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        folder = self.hub.models.get(owner_and_name)
        if folder is None:
            return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"})
        if "/revision/" in path or path == f"/api/models/{owner_and_name}":
            return self._json({"id": owner_and_name, "sha": COMMIT, "siblings": []})
        if "/tree/" in path:
            return self._json([_entry(folder, file) for file in sorted(folder.rglob("*")) if file.is_file()])
        return self._file(folder, path.split(f"/resolve/{COMMIT}/")[1])

    do_HEAD = do_GET

    def _file(self, folder: Path, name: str) -> None:
        content = (folder / name).read_bytes()
        if self.command == "GET":
            self.hub.fetched.append(name)
        etag = hashlib.sha256(content).hexdigest()
        self._answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def _json(self, answer: Any) -> None:
        self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def _entry(folder: Path, file: Path) -> dict[str, Any]:
    oid = hashlib.sha256(file.read_bytes()).hexdigest()[:40]
    return {"type": "file", "path": str(file.relative_to(folder)), "size": file.stat().st_size, "oid": oid}

"""Just enough of HTTP/1.1 to ask one server on one connection; opens no connection itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

BOUNDARY = "diptych-benchmark-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
OCTETS = "application/octet-stream"
JSON = "application/json"
END_OF_HEADER = b"\r\n\r\n"


@dataclass(frozen=True)
class Part:
    """One part of a form; with a `media_type` it is a file."""

    name: str
    data: bytes
    media_type: str | None = None


def request(path: str, body: bytes, content_type: str, accept: str = JSON) -> bytes:
    """A whole request, ready to be sent."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {content_type}",
        f"Accept: {accept}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + END_OF_HEADER + body


def form(parts: Sequence[Part]) -> bytes:
    """The body of a form, to be sent as `MULTIPART`."""
    chunks: list[bytes] = []
    for number, part in enumerate(parts):
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part.name}"'
        if part.media_type is not None:
            head += f'; filename="{number}"\r\nContent-Type: {part.media_type}'
        chunks += [head.encode(), END_OF_HEADER, part.data, b"\r\n"]
    return b"".join([*chunks, f"--{BOUNDARY}--\r\n".encode()])


def labels_part(labels: Sequence[str]) -> Part:
    """Labels as one JSON array."""
    return Part("labels", json.dumps(list(labels)).encode())


class BadAnswer(Exception):
    """The server answered what this reader does not take."""


class AnswerReader:
    """Reads one answer after the other from the bytes of a connection; bodies need a Content-Length."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._expected = -1  # bytes of the whole answer; -1 while the header is not complete
        self._n_header = 0

    def feed(self, data: bytes) -> bool:
        """True when the answer is complete. Raises BadAnswer for another status than 200."""
        self._held += data
        if self._expected < 0:
            end = self._held.find(END_OF_HEADER)
            if end < 0:
                return False
            self._n_header = end + len(END_OF_HEADER)
            self._expected = self._n_header + _content_length(bytes(self._held[:end]))
        if len(self._held) < self._expected:
            return False
        if len(self._held) > self._expected:
            raise BadAnswer(f"{len(self._held) - self._expected} bytes after the end of the answer")
        self._take()
        return True

    def _take(self) -> None:
        if not self._held.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise BadAnswer(bytes(self._held[:2000]).decode(errors="replace"))
        self._held.clear()
        self._expected = -1


def _content_length(header: bytes) -> int:
    for line in header.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise BadAnswer(f"no Content-Length in {header[:500]!r}")

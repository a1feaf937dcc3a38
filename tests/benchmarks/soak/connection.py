"""One connection of a client, kept alive: a whole request out, a whole answer in. Knows no route."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.serving.http_message import END_OF_HEADER

HOST = "127.0.0.1"
ANSWER_WITHIN_S = 120.0
MAX_HEADER_BYTES = 2**18


@dataclass(frozen=True)
class Answer:
    """Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def words(self) -> str:
        """For somebody who wants to know why."""
        return f"{self.status} {self.body[:300].decode(errors='replace')}"


class NoAnswer(Exception):
    """The connection ended, or too much time passed, before the answer was complete."""


class Connection:
    """At most one request at a time; opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, *pieces: bytes, pause_s: float = 0.0, within_s: float = ANSWER_WITHIN_S) -> Answer:
        """Send the pieces with pauses between them until the answer comes. Raises NoAnswer."""
        sending: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(within_s):
                reader, writer = await self._open()
                if pause_s:
                    sending = asyncio.create_task(_send(writer, pieces, pause_s))
                else:
                    writer.writelines(pieces)
                answer = await _read(reader)
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        finally:
            if sending is not None and not sending.done():  # answered before it was asked to the end
                sending.cancel()
                self.close()
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    async def send(self, data: bytes) -> asyncio.StreamReader:
        """Send this, and leave the answer to the caller. Raises NoAnswer."""
        try:
            reader, writer = await self._open()
            writer.write(data)
        except OSError as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        return reader

    def close(self) -> None:
        """At once, whatever is on its way."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection; a new one when the server has closed it meanwhile."""
        if self._reader is None or self._writer is None or self._reader.at_eof() or self._writer.is_closing():
            self.close()
            self._reader, self._writer = await asyncio.open_connection(
                HOST, self._port, limit=MAX_HEADER_BYTES
            )
        return self._reader, self._writer


async def _send(writer: asyncio.StreamWriter, pieces: Sequence[bytes], pause_s: float) -> None:
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(pause_s)


async def _read(reader: asyncio.StreamReader) -> Answer:
    """Raises ValueError for what is no answer, EOFError when it ends too early."""
    head = await reader.readuntil(END_OF_HEADER)
    first, *lines = head.decode("latin-1").splitlines()
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)
    }
    status = int(first.split()[1])
    if status in {204, 304}:
        return Answer(status, headers, b"")
    if "content-length" in headers:
        return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))
    if headers.get("connection", "").lower() == "close":
        return Answer(status, headers, await reader.read())
    raise ValueError(f"neither a length nor an end: {head[:300]!r}")

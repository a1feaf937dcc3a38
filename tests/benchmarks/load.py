"""The load generator: closed-loop clients on keep-alive connections.

Each client sends its next request when it has the last answer. The generator shares the cores with the
server: where it can, requests are made before the first one is sent, and of answers only heads are read.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from statistics import median
from typing import Any, TypeVar

import numpy as np
import uvloop

from benchmarks.servers import Running, cpu_seconds, resident_bytes

HOST = "127.0.0.1"
BOUNDARY = "diptych-benchmark-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
OCTETS = "application/octet-stream"
JSON = "application/json"
END_OF_HEADER = b"\r\n\r\n"
MAX_HEADER_BYTES = 2**20
WITHIN_S = 120.0
WARM_S = 1.0
MAX_ERRORS = 20  # kept in words; all are counted

T = TypeVar("T")


class NoAnswer(Exception):
    """The connection ended, or the time was over, before a whole answer came."""


@dataclass(frozen=True)
class Answer:
    """Status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)

    def words(self) -> str:
        """For a message: the status and how the body begins."""
        return f"{self.status} {self.body[:300].decode(errors='replace')}"


@dataclass(frozen=True)
class Part:
    """One part of a form; with a `media_type` it is a file."""

    name: str
    data: bytes
    media_type: str | None = None


def request(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """A whole request; underscores in header names become hyphens."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + END_OF_HEADER + (body or b"")


def post(path: str, body: bytes, content_type: str, accept: str = JSON) -> bytes:
    """A POST with a body of one type."""
    return request("POST", path, body, Content_Type=content_type, Accept=accept)


def post_json(path: str, value: Any, accept: str = JSON) -> bytes:
    """A POST of one JSON value."""
    return post(path, json.dumps(value).encode(), JSON, accept)


def post_form(path: str, parts: Sequence[Part], accept: str = JSON) -> bytes:
    """A POST of a multipart form."""
    return post(path, form(parts), MULTIPART, accept)


def form(parts: Sequence[Part]) -> bytes:
    """The body of a form, to be sent as `MULTIPART`."""
    chunks: list[bytes] = []
    for number, part in enumerate(parts):
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part.name}"'
        if part.media_type is not None:
            head += f'; filename="{number}"\r\nContent-Type: {part.media_type}'
        chunks += [head.encode(), END_OF_HEADER, part.data, b"\r\n"]
    return b"".join([*chunks, f"--{BOUNDARY}--\r\n".encode()])


class Connection:
    """One keep-alive connection with at most one request on it; opened again where the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, *pieces: bytes, pause_s: float = 0.0, within_s: float = WITHIN_S) -> Answer:
        """The answer to a request that is sent in pieces. Raises NoAnswer."""
        try:
            async with asyncio.timeout(within_s):
                reader, writer = await self._open()
                sending = asyncio.create_task(_send(writer, pieces, pause_s)) if len(pieces) > 1 else None
                if sending is None:
                    writer.write(pieces[0])
                try:
                    answer = await _read(reader)
                finally:
                    if sending is not None:  # a server may answer before it has read everything
                        sending.cancel()
        except TimeoutError as error:
            self.close()
            raise NoAnswer(f"no answer within {within_s:g} s") from error
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    async def send(self, data: bytes) -> asyncio.StreamReader:
        """Send without waiting for an answer: for callers that hang up."""
        reader, writer = await self._open()
        writer.write(data)
        return reader

    def close(self) -> None:
        """Hang up at once, whatever is on its way."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
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
    head = await reader.readuntil(END_OF_HEADER)
    first, *lines = head.decode("latin-1").splitlines()
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    status = int(first.split()[1])
    if status in {204, 304}:
        return Answer(status, headers, b"")
    if "content-length" in headers:
        return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))
    if headers.get("connection", "").lower() == "close":
        return Answer(status, headers, await reader.read())
    raise ValueError(f"neither a length nor an end: {head[:300]!r}")


def ask_once(server: Running, message: bytes) -> Any:
    """One answer as JSON. Raises SystemExit where it is an error, or an add that did not create all items."""

    async def one() -> Answer:
        connection = Connection(server.port)
        try:
            return await connection.ask(message)
        finally:
            connection.close()

    return created(asyncio.run(one()))


def created(answer: Answer) -> Any:
    """The JSON of a success. Raises SystemExit where it is none, or an add that did not create all items."""
    found = answer.json() if answer.status in {200, 201, 202} else None
    if found is None or {outcome["status"] for outcome in found.get("outcomes", ())} - {"created"}:
        sys.exit(answer.words())
    return found


def add_vectors(
    collection: str, model: tuple[str, int], ids: Sequence[str], rows: "np.ndarray", metadata: Sequence[Any]
) -> bytes:
    """A POST of ready-made vectors (N, D) of a model's version."""
    items = [{"id": id, "metadata": one} for id, one in zip(ids, metadata, strict=True)]
    origin = {"name": model[0], "version": model[1]}
    parts = [
        Part("model", json.dumps(origin).encode()),
        Part("embeddings", rows.astype("<f4").tobytes(), OCTETS),
        Part("items", json.dumps(items).encode()),
    ]
    return post_form(f"/collections/{collection}/vectors", parts)


class Requests:
    """Requests of one kind, sent in turn by all clients together; each has `n_items` items.

    A sequence is sent again and again, an iterator for as long as it lasts.
    """

    def __init__(self, messages: Sequence[bytes] | Iterator[bytes], n_items: int = 1) -> None:
        self.n_items = n_items
        self.n_sent = 0
        self._messages = cycle(messages) if isinstance(messages, Sequence) else messages

    def __next__(self) -> bytes:
        self.n_sent += 1
        return next(self._messages)


@dataclass
class Window:
    """What a window of load came to. Rates and costs are of items, not of requests."""

    per_s: float
    cpu_ms: float  # processor time of the server, an item
    latencies_ms: list[float]  # sorted; of the requests that ended in the window
    resident_mb: float
    n_errors: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def p50_ms(self) -> float:
        """The median latency."""
        return percentile(self.latencies_ms, 0.5)

    @property
    def p99_ms(self) -> float:
        """The latency that 1% of all requests exceed."""
        return percentile(self.latencies_ms, 0.99)


def window(
    server: Running, requests: Requests, n_clients: int, seconds: float, warm_s: float = WARM_S
) -> Window:
    """Warm every connection, measure for so long, let the requests on their way come home."""
    return uvloop.run(_window(server, requests, n_clients, seconds, warm_s))


def windows(
    servers: Sequence[Running], requests: Requests, n_clients: int, seconds: float, warm_s: float = WARM_S
) -> list[Window]:
    """A window of each server at the same time, with the same number of clients each."""

    async def all_of_them() -> list[Window]:
        asked = (_window(server, requests, n_clients, seconds, warm_s) for server in servers)
        return await asyncio.gather(*asked)

    return uvloop.run(all_of_them())


@dataclass
class _Clients:
    """All clients of one window, and what they met."""

    port: int
    requests: Requests
    stopping: bool = False
    spans: list[tuple[float, float]] = field(default_factory=list)  # begin and end of each good request
    n_errors: int = 0
    errors: list[str] = field(default_factory=list)

    async def one(self) -> None:
        """One client until `stopping`. A client that meets an error goes on with the next request."""
        connection = Connection(self.port)
        while not self.stopping:
            message, began = next(self.requests), time.perf_counter()
            try:
                answer = await connection.ask(message)
            except NoAnswer as error:
                self._failed(str(error))
                continue
            if answer.status == 200:
                self.spans.append((began, time.perf_counter()))
            else:
                self._failed(answer.words())
        connection.close()

    def _failed(self, words: str) -> None:
        self.n_errors += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(words)


async def _window(
    server: Running, requests: Requests, n_clients: int, seconds: float, warm_s: float
) -> Window:
    clients = _Clients(server.port, requests)
    tasks = [asyncio.create_task(clients.one()) for _ in range(n_clients)]
    await asyncio.sleep(warm_s)
    longest = time.perf_counter() + WITHIN_S
    # An event would be one more thing that every answer does.
    while len(clients.spans) + clients.n_errors < n_clients and time.perf_counter() < longest:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    begin, cpu_before = time.perf_counter(), cpu_seconds(server.pid)
    await asyncio.sleep(seconds)
    end, cpu = time.perf_counter(), cpu_seconds(server.pid) - cpu_before
    resident = resident_bytes(server.pid)
    clients.stopping = True
    await asyncio.gather(*tasks)
    return summed_up(clients.spans, begin, end, cpu, requests.n_items, resident, clients)


def summed_up(
    spans: Sequence[tuple[float, float]], begin: float, end: float, cpu_s: float, n_items: int,
    resident: float, clients: _Clients | None = None,
) -> Window:  # fmt: skip
    """A window from its requests; where none ended within it, the last one tells the latency."""
    ended = [span for span in spans if begin <= span[1] <= end] or list(spans[-1:])
    per_s = n_items * rate(spans, begin, end)
    cpu_ms = 1000 * cpu_s / (per_s * (end - begin)) if per_s else float("nan")
    ms = sorted(1000 * (to - since) for since, to in ended)
    failed = (clients.n_errors, clients.errors) if clients else (0, [])
    return Window(per_s, cpu_ms, ms, resident / 1e6, *failed)


def rate(spans: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """Requests a second; one at an edge counts by its part inside the window.

    Answers come in bursts of a batch: whole requests would make a short window wrong by a batch or two.
    """
    inside = (_share_inside(since, to, begin, end) for since, to in spans)
    return sum(inside) / (end - begin)


def _share_inside(since: float, to: float, begin: float, end: float) -> float:
    overlap = min(to, end) - max(since, begin)
    if overlap <= 0:
        return 0.0
    return overlap / (to - since) if to > since else 1.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank); NaN of none."""
    return ordered[max(1, int(-(-len(ordered) * share // 1))) - 1] if ordered else float("nan")


def in_turns(n_rounds: int, measures: Sequence[Callable[[], T]]) -> list[list[T]]:
    """All measures in each round, every second round backwards (A, B, B, A); the results of each by round.

    A shared machine changes its speed from one minute to the next: what is compared is measured side by side,
    and neither of two is always the first.
    """
    found: list[list[T]] = [[] for _ in measures]
    for number in range(n_rounds):
        order = list(range(len(measures)))
        for index in order if number % 2 == 0 else reversed(order):
            found[index].append(measures[index]())
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> Iterator[float]:
    """The ratio of each round."""
    return (one / other for one, other in zip(above, below, strict=True))


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median with the lowest and the highest."""
    if not values:
        return "-"
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"

"""The load generator: closed-loop clients on keep-alive connections; a worker.

Each client sends its next request when it has the last answer. It shares the cores with the server, so that
requests are made before the first is sent, and of answers only status and length are read. Knows no product.
"""

import asyncio
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, cast

import uvloop

from benchmarks.serving import processes
from benchmarks.serving.http_message import JSON, AnswerReader, BadAnswer, request
from benchmarks.serving.measures import Span, percentile, rate
from benchmarks.serving.workers import answer

HOST = "127.0.0.1"
MEMORY_EVERY_S = 0.5
WARM_WITHIN_S = 120.0
DRAIN_S = 120.0  # what the last requests may take
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Asked:
    """One kind of request; its bodies, in `write_bodies`' form, are sent in turn by all clients together."""

    name: str
    path: str
    bodies: str
    content_type: str
    accept: str = JSON


@dataclass(frozen=True)
class Task:
    """What to do. Several kinds take turns, request by request, so that noise meets all of them alike."""

    port: int
    server_pid: int
    clients: int
    seconds: float
    warm_s: float
    kinds: list[Asked]


@dataclass(frozen=True)
class Latency:
    """Of one kind of request, over those that ended in the window."""

    n: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Window:
    """What came of it; processor seconds are per second of the window, `ms` is what each request took."""

    per_s: float
    seconds: float
    latency: dict[str, Latency]
    ms: list[float]
    server_cpu: float
    client_cpu: float
    resident_mb: float
    peak_mb: float


@dataclass
class Recorder:
    """Every request of all clients, by kind."""

    spans: dict[str, list[Span]] = field(default_factory=dict)
    stopping: bool = False

    def add(self, kind: str, span: Span) -> None:
        self.spans.setdefault(kind, []).append(span)


class Deck:
    """The requests of all kinds, dealt one after the other for ever."""

    def __init__(self, kinds: Sequence[Asked]) -> None:
        self._kinds = [kind.name for kind in kinds]
        self._requests = [_requests(kind) for kind in kinds]
        self._dealt = count()

    def deal(self) -> tuple[str, bytes]:
        turn, kind = divmod(next(self._dealt), len(self._kinds))
        requests = self._requests[kind]
        return self._kinds[kind], requests[turn % len(requests)]


class Client(asyncio.Protocol):
    """One connection with at most one request on it."""

    def __init__(self, deck: Deck, recorder: Recorder, over: "asyncio.Future[None]") -> None:
        self._deck, self._recorder, self._over = deck, recorder, over
        self._reader = AnswerReader()
        self._kind, self._sent_at = "", 0.0
        self._warm = False

    @property
    def is_warm(self) -> bool:
        """Whether it had an answer already."""
        return self._warm

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none
        self._send()

    def data_received(self, data: bytes) -> None:
        try:
            complete = self._reader.feed(data)
        except BadAnswer as error:
            self._end(error)
            return
        if complete:
            self._recorder.add(self._kind, Span(self._sent_at, time.perf_counter()))
            self._warm = True
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or BadAnswer("the server closed the connection"))

    def _send(self) -> None:
        if self._recorder.stopping:
            self._end(None)
            return
        self._kind, message = self._deck.deal()
        self._sent_at = time.perf_counter()
        self._transport.write(message)

    def _end(self, error: Exception | None) -> None:
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)
        self._transport.close()


def write_bodies(file: Path, bodies: Sequence[bytes]) -> None:
    """Bodies for `Asked`: each behind its length in four bytes. The file is there whole or not at all."""
    part = file.with_suffix(".part")
    with part.open("wb") as out:
        for body in bodies:
            out.write(_LENGTH.pack(len(body)) + body)
    part.rename(file)


def read_bodies(file: Path) -> list[bytes]:
    """What `write_bodies` wrote."""
    data, bodies, at = file.read_bytes(), [], 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        bodies.append(data[at : at + length])
        at += length
    return bodies


async def measure(task: Task) -> Window:
    """Warm every connection, take the window, let the requests on their way come home. Raises BadAnswer."""
    loop, deck, recorder = asyncio.get_running_loop(), _deck(*task.kinds), Recorder()
    overs: list[asyncio.Future[None]] = [loop.create_future() for _ in range(task.clients)]
    connecting = (
        loop.create_connection(lambda over=over: Client(deck, recorder, over), HOST, task.port)
        for over in overs
    )
    clients = [client for _, client in await asyncio.gather(*connecting)]
    work = asyncio.gather(*overs)  # ends early only by an error
    await _warm(clients, task.warm_s, work)
    begin, server_cpu, client_cpu = (
        time.perf_counter(),
        processes.cpu_seconds(task.server_pid),
        time.process_time(),
    )
    memory = await _watch_memory(task, begin + task.seconds, work)
    end = time.perf_counter()
    server_cpu = processes.cpu_seconds(task.server_pid) - server_cpu
    client_cpu = time.process_time() - client_cpu
    recorder.stopping = True
    await asyncio.wait_for(work, DRAIN_S)
    ms = {kind: _ms(spans, begin, end) for kind, spans in recorder.spans.items()}
    return Window(
        per_s=rate([span for spans in recorder.spans.values() for span in spans], begin, end),
        seconds=end - begin,
        latency={kind: _latency(found) for kind, found in ms.items()},
        ms=[one for found in ms.values() for one in found],
        server_cpu=server_cpu / (end - begin),
        client_cpu=client_cpu / (end - begin),
        resident_mb=memory.resident / 1e6,
        peak_mb=memory.peak / 1e6,
    )


async def _warm(clients: Sequence[Client], seconds: float, work: "asyncio.Future[list[None]]") -> None:
    began = time.perf_counter()
    while time.perf_counter() < began + seconds or not all(client.is_warm for client in clients):
        await _pause(0.05, work)
        if time.perf_counter() > began + WARM_WITHIN_S:
            raise BadAnswer(f"some connections had no answer within {WARM_WITHIN_S:.0f} s")


async def _watch_memory(task: Task, until: float, work: "asyncio.Future[list[None]]") -> processes.Memory:
    """Until then; the highest that was seen."""
    seen = processes.memory(task.server_pid)
    while (left := until - time.perf_counter()) > 0:
        await _pause(min(MEMORY_EVERY_S, left), work)
        now = processes.memory(task.server_pid)
        seen = processes.Memory(max(seen.resident, now.resident), max(seen.peak, now.peak))
    return seen


async def _pause(seconds: float, work: "asyncio.Future[list[None]]") -> None:
    """Raises at once what a client met."""
    done, _ = await asyncio.wait([work], timeout=seconds)
    if done:
        work.result()


def _ms(spans: Sequence[Span], begin: float, end: float) -> list[float]:
    """Of those that ended in the window; of the last one, where each takes longer than the window."""
    ended = [span for span in spans if begin <= span.end <= end] or spans[-1:]
    return [1000 * (span.end - span.start) for span in ended]


def _latency(ms: Sequence[float]) -> Latency:
    return Latency(len(ms), percentile(ms, 0.5), percentile(ms, 0.99))


@cache
def _deck(*kinds: Asked) -> Deck:
    """A process that is asked for several windows goes on with the bodies where it stopped."""
    return Deck(kinds)


def _requests(kind: Asked) -> list[bytes]:
    bodies = read_bodies(Path(kind.bodies))
    return [request(kind.path, body, kind.content_type, kind.accept) for body in bodies]


def run(kinds: list[dict[str, str]], **rest: Any) -> dict[str, Any]:
    """A `Task` in JSON's kinds -> a `Window` in them."""
    task = Task(**rest, kinds=[Asked(**kind) for kind in kinds])
    try:
        return asdict(uvloop.run(measure(task)))
    except BadAnswer as error:
        sys.exit(f"the server answered: {error}")


if __name__ == "__main__":
    answer(run)

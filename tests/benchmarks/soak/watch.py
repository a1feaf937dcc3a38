"""Take a sample of a server each second: what it uses, says of itself, and what came of requests."""

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.serving import processes
from benchmarks.soak.connection import Connection, NoAnswer
from benchmarks.soak.messages import get
from benchmarks.soak.samples import Sample
from benchmarks.soak.tally import Tally

EVERY_S = 1.0
PROBE_WITHIN_S = 10.0
DISK_EVERY = 10  # samples
QUEUE = re.compile(r"^diptych_queue_items\{[^}]*\} (\S+)$", re.MULTILINE)
SERVER_ERRORS = re.compile(r'^diptych_requests_total\{[^}]*code="5[^}]*\} (\S+)$', re.MULTILINE)

Progress = Callable[[Sample], None]


class ServerGone(Exception):
    """The process ended by itself."""


class Watch:
    """Asks on two connections of its own; what it asks is not among what is counted."""

    def __init__(self, port: int, pid: int, data_dir: Path, tally: Tally) -> None:
        self._pid, self._data_dir, self._tally = pid, data_dir, tally
        self._ready, self._metrics = Connection(port), Connection(port)
        self._n_taken = 0
        self._data_bytes = 0
        self._queue = self._n_errors = 0.0

    async def until(self, seconds: float, stop: asyncio.Event, keep: Progress) -> None:
        """Until so many seconds are over, or `stop` is set. Raises ServerGone."""
        began = last = time.perf_counter()
        server_s, client_s = processes.cpu_seconds(self._pid), time.process_time()
        try:
            while last - began < seconds and not stop.is_set():
                await _sleep(last + EVERY_S - time.perf_counter(), stop)
                ready, ready_ms = await self._probe()
                now, server_now, client_now = (
                    time.perf_counter(),
                    processes.cpu_seconds(self._pid),
                    time.process_time(),
                )
                resident = processes.memory(self._pid).resident
                sample = Sample(
                    at_s=now - began,
                    seconds=now - last,
                    resident=resident,
                    server_cpu_s=server_now - server_s,
                    client_cpu_s=client_now - client_s,
                    queue_items=self._queue,
                    ready=ready,
                    ready_ms=ready_ms,
                    n_server_errors=self._n_errors,
                    data_bytes=await self._disk(),
                    counts=self._tally.take(),
                )
                if not resident:
                    raise ServerGone
                keep(sample)
                last, server_s, client_s = now, server_now, client_now
        finally:
            self._ready.close()
            self._metrics.close()

    async def _probe(self) -> tuple[str, float]:
        """What /readyz says, empty when it is ready, and in how many milliseconds; reads the metrics too."""
        reading = asyncio.create_task(self._read_metrics())
        began = time.perf_counter()
        try:
            answer = await self._ready.ask(get("/readyz"), within_s=PROBE_WITHIN_S)
            ready = "" if answer.status == 200 else answer.words()
        except NoAnswer as error:
            ready = str(error) or "no answer"
        ms = 1000 * (time.perf_counter() - began)
        await reading
        return ready, ms

    async def _read_metrics(self) -> None:
        """Keeps what was read before when there is no answer: /readyz tells of that."""
        try:
            answer = await self._metrics.ask(get("/metrics"), within_s=PROBE_WITHIN_S)
        except NoAnswer:
            return
        text = answer.body.decode()
        self._queue = sum(map(float, QUEUE.findall(text)))
        self._n_errors = sum(map(float, SERVER_ERRORS.findall(text)))

    async def _disk(self) -> int:
        if self._n_taken % DISK_EVERY == 0:
            self._data_bytes = await asyncio.to_thread(_bytes_in, self._data_dir)
        self._n_taken += 1
        return self._data_bytes


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    """So long, or until `stop` is set."""
    try:
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))
    except TimeoutError:
        return


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # deleted meanwhile
            continue
    return total

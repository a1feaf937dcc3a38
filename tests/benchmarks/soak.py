"""`make soak`: the server at full load for twenty minutes, with hostile requests among the good ones.

    PYTHONPATH=tests python -m benchmarks.soak [--minutes M] [--clients N] [--write FILE]

Ctrl-C ends the load early, with a report of what was measured. The status is 1 when a bar is missed.
"""

import argparse
import asyncio
import contextlib
import re
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.load import Connection, NoAnswer, percentile, request
from benchmarks.report import (
    Verdict,
    command_line,
    conditions,
    finish,
    none_of,
    parser,
    say,
    table,
    verdicts_table,
)
from benchmarks.servers import Running, cpu_seconds, diptych, resident_bytes, running
from benchmarks.soak_requests import (
    CHANGING,
    GALLERY,
    GALLERY_FOLDER,
    GOOD,
    MIN_COSINE,
    Caller,
    Failed,
    Turn,
    World,
    Wrong,
    dawdle,
    hostile_turns,
    prepare,
)
from support.default_model import DEFAULT_MODEL, MODEL_REPO

MARKS = "soak"
MINUTES, CLIENTS, HOSTILE_SHARE = 20.0, 16, 0.05
JUDGED_FROM_S, JUDGED_FROM_SHARE, MAX_GROWTH = 300.0, 0.25, 0.03  # of memory
GALLERY_WITHIN_S, READY_WITHIN_S, DRAIN_S = 300.0, 10.0, 180.0
MOST_BESIDE = 12  # slow bodies, which keep no client from its next request
AFTER_FAILURE_S = 0.2  # a server that is gone must not be asked a thousand times a second
TELL_EVERY_S, TOLD = 30, 20
SERVER_ERRORS = re.compile(r'^diptych_requests_total\{[^}]*code="5[^}]*\} (\S+)$', re.MULTILINE)
ERROR_WORDS = ('"level": "error"', '"level": "critical"', "Traceback")


@dataclass
class Tally:
    """What came of all requests, and what was seen of the server, a sample a second."""

    good: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    hostile: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    ms: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds since the load began, bytes
    unready: list[str] = field(default_factory=list)
    n_probes: int = 0
    n_server_errors: int = 0
    lost: list[str] = field(default_factory=list)  # acknowledged writes that are not so at the end
    logged: list[str] = field(default_factory=list)  # lines of the server's log that nobody should see
    ended_by: str = ""  # why the load ended before its time

    @property
    def n_good(self) -> int:
        """Good requests so far."""
        return sum(sum(found.values()) for found in self.good.values())

    @property
    def n_hostile(self) -> int:
        """Hostile requests so far."""
        return sum(sum(found.values()) for found in self.hostile.values())


class Clients:
    """Clients that take their next turn as soon as they have their answer; one in twenty is hostile."""

    def __init__(self, port: int, world: World, tally: Tally) -> None:
        self.stopping = False
        self._port, self._world, self._tally = port, world, tally
        self._hostile = hostile_turns(world)
        self._n_hostile = self._n_dealt = 0
        self._beside: set[asyncio.Task[None]] = set()

    async def one(self) -> None:
        """One client until `stopping`."""
        caller = Caller(self._port, self._world)
        while not self.stopping:
            self._n_dealt += 1
            is_hostile = self._n_hostile < HOSTILE_SHARE * self._n_dealt
            self._n_hostile += is_hostile
            turn = (
                next(self._hostile)
                if is_hostile
                else self._world.draw.choices(list(GOOD), list(GOOD.values()))[0]
            )
            if turn is not dawdle:
                await self._take(turn, caller, is_hostile)
            elif len(self._beside) < MOST_BESIDE:
                task = asyncio.create_task(self._take(turn, Caller(self._port, self._world), True))
                self._beside.add(task)
                task.add_done_callback(self._beside.discard)
        caller.connection.close()

    async def leave_slow_ones(self) -> None:
        """What takes long is left as it is."""
        for task in list(self._beside):
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)

    async def _take(self, turn: Turn, caller: Caller, is_hostile: bool) -> None:
        name, began, caller.status = getattr(turn, "__name__", "turn"), time.perf_counter(), ""
        try:
            await turn(caller)
        except Wrong as error:
            self._tally.wrong.append(f"{name}: {error}")
            await asyncio.sleep(AFTER_FAILURE_S)
        except Exception as error:  # Failed, or an answer that cannot be read as it should
            kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
            self._tally.failed.append(f"{name}: {kind}{error}")
            await asyncio.sleep(AFTER_FAILURE_S)
        if not caller.status:  # there was no image to delete, or to use
            return
        (self._tally.hostile if is_hostile else self._tally.good)[name][caller.status] += 1
        if not is_hostile:
            self._tally.ms[name].append(1000 * (time.perf_counter() - began))


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("--minutes", type=float, default=MINUTES, help=f"of load (default {MINUTES:g})")
    flags.add_argument("--clients", type=int, default=CLIENTS, help=f"at once (default {CLIENTS})")
    args = flags.parse_args()
    world, tally = World(), Tally()
    with tempfile.TemporaryDirectory(prefix="diptych-soak-") as folder:
        flags = ["--gallery", str(GALLERY_FOLDER), "--default-collection", GALLERY]
        program = diptych(MODEL_REPO, DEFAULT_MODEL, Path(folder), *flags, name="soak")
        try:
            with running(program) as server:
                began_cpu = cpu_seconds(server.pid)
                uvloop.run(soak(server, world, tally, 60 * args.minutes, args.clients))
                cores = (cpu_seconds(server.pid) - began_cpu) / max(1.0, _seconds(tally))
                tally.logged = [
                    line for line in server.log.read_text(errors="replace").splitlines() if _is_bad(line)
                ]
        except RuntimeError as error:  # the server did not start, or did not live as long as it should
            tally.ended_by, cores = str(error), 0.0
    bars = list(verdicts(world, tally))
    finish(report(args, tally, bars, cores), args.write, MARKS)
    return 0 if all(bar.met for bar in bars) else 1


async def soak(server: Running, world: World, tally: Tally, seconds: float, n_clients: int) -> None:
    """Prepare, load, watch, and look what is left."""
    caller = Caller(server.port, world)
    await prepare(caller)
    deadline = time.monotonic() + GALLERY_WITHIN_S
    while await _n_images(caller, GALLERY) < len(world.pictures):
        if time.monotonic() > deadline:
            raise RuntimeError("the gallery was not loaded in time")
        await asyncio.sleep(0.5)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clients = Clients(server.port, world, tally)
    tasks = [asyncio.create_task(clients.one()) for _ in range(n_clients)]
    await _watch(server, tally, seconds, stop)
    clients.stopping = True
    await clients.leave_slow_ones()
    _, pending = await asyncio.wait(tasks, timeout=DRAIN_S)
    if pending:
        tally.ended_by = "some requests did not end"
    elif stop.is_set():
        tally.ended_by = "a signal"
    if resident_bytes(server.pid):
        there = await _stored_ids(caller)
        tally.lost += [f"{id} is missing" for id, _ in world.pool if id not in there]
        tally.lost += [f"{id} was deleted" for id in there & world.deleted]
    caller.connection.close()


async def _watch(server: Running, tally: Tally, seconds: float, stop: asyncio.Event) -> None:
    """A sample a second, on a connection of its own."""
    connection, began = Connection(server.port), time.perf_counter()
    while (now := time.perf_counter() - began) < seconds and not stop.is_set():
        tally.n_probes += 1
        try:
            ready = await connection.ask(request("GET", "/readyz"), within_s=READY_WITHIN_S)
            metrics = await connection.ask(request("GET", "/metrics"), within_s=READY_WITHIN_S)
            tally.n_server_errors = int(sum(map(float, SERVER_ERRORS.findall(metrics.body.decode()))))
            if ready.status != 200:
                tally.unready.append(f"at {now:.0f} s: {ready.words()}")
        except NoAnswer as error:
            tally.unready.append(f"at {now:.0f} s: {error}")
        resident = resident_bytes(server.pid)
        if not resident:
            tally.ended_by = "the server ended by itself"
            return
        tally.memory.append((now, resident))
        if tally.n_probes % TELL_EVERY_S == 0:
            say(
                f"{now:.0f} of {seconds:.0f} s: {tally.n_good:,} good, {tally.n_hostile:,} hostile, "
                f"{resident / 1e6:.0f} MB, {len(tally.failed)} failed, {len(tally.wrong)} wrong"
            )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
    connection.close()


async def _n_images(caller: Caller, collection: str) -> int:
    listed = (await caller.good(request("GET", "/collections"))).json()["collections"]
    return next((int(one["n_images"]) for one in listed if one["name"] == collection), 0)


async def _stored_ids(caller: Caller) -> set[str]:
    found: set[str] = set()
    after = ""
    while True:
        path = f"/collections/{CHANGING}/images?limit=1000" + (f"&after={after}" if after else "")
        page = (await caller.good(request("GET", path))).json()
        found |= {image["id"] for image in page["images"]}
        if page["next"] is None:
            return found
        after = page["next"]


def _is_bad(line: str) -> bool:
    """Every line is one JSON object: what is none was written past the log."""
    return not line.startswith("{") or any(word in line for word in ERROR_WORDS)


def verdicts(world: World, tally: Tally) -> Iterator[Verdict]:
    """All bars."""
    n_good, n_hostile = tally.n_good, tally.n_hostile
    yield none_of("good requests that failed", len(tally.failed), n_good)
    lowest = world.lowest_cosine
    what = "lowest cosine of a vector to the one that its item had alone"
    yield Verdict(what, f">= {MIN_COSINE}", f"{lowest:.7f}", lowest >= MIN_COSINE)
    yield none_of("hostile requests not answered as they must be", len(tally.wrong), n_hostile)
    yield none_of("answers with 5xx, as the server counts them", tally.n_server_errors)
    yield none_of("`/readyz` other than 200, asked each second", len(tally.unready), tally.n_probes)
    growth = memory_growth(tally.memory)
    yield Verdict(
        "growth of resident memory after the first quarter (five minutes at most), by least squares",
        f"< {MAX_GROWTH:.0%}",
        "not measured" if growth is None else f"{growth:+.2%}",
        growth is not None and growth < MAX_GROWTH,
    )
    yield none_of("acknowledged adds and deletes that are not so at the end", len(tally.lost))
    yield none_of("errors in the server's log", len(tally.logged))
    yield Verdict(
        "the load ran its time and the server lived", "yes", tally.ended_by or "yes", not tally.ended_by
    )


def memory_growth(samples: list[tuple[float, int]]) -> float | None:
    """Of the line through the judged samples, from its begin to its end; None of too few."""
    if not samples:
        return None
    since = min(JUDGED_FROM_S, JUDGED_FROM_SHARE * samples[-1][0])
    judged = np.array([sample for sample in samples if sample[0] >= since], float)
    if len(judged) < 3:
        return None
    slope, base = np.polyfit(judged[:, 0], judged[:, 1], 1)
    return float(slope * (judged[-1, 0] - judged[0, 0]) / (base + slope * judged[0, 0]))


def report(args: argparse.Namespace, tally: Tally, bars: list[Verdict], cores: float) -> str:
    """Conditions, bars, what was asked, and what went wrong in words."""
    seconds = max(1.0, _seconds(tally))
    share = tally.n_hostile / max(1, tally.n_good + tally.n_hostile)
    said = (
        f"{conditions(command_line('soak', 'SOAK'))} {seconds / 60:.1f} minutes of {args.clients} "
        f"clients, each with one request at a time: {tally.n_good / seconds:.0f} good turns a second, "
        f"{share:.1%} of all hostile; the server used {cores:.2f} cores."
    )
    rows = [
        [name, f"{sum(found.values()):,}", *_latency(tally.ms[name]), _statuses(found)]
        for name, found in sorted(tally.good.items())
    ]
    rows += [
        [f"hostile: {name}", f"{sum(found.values()):,}", "", "", _statuses(found)]
        for name, found in sorted(tally.hostile.items())
    ]
    asked = table(["requests", "number", "p50 ms", "p99 ms", "last status: number"], rows)
    wrong = [*tally.failed, *tally.wrong, *tally.unready, *tally.lost, *tally.logged]
    told = ["```", *wrong[:TOLD], f"{len(wrong):,} in all", "```"] if wrong else []
    return "\n\n".join(filter(None, [said, verdicts_table(bars), asked, "\n".join(told)])) + "\n"


def _latency(ms: list[float]) -> list[str]:
    ordered = sorted(ms)
    return [f"{percentile(ordered, share):,.0f}" for share in (0.5, 0.99)]


def _statuses(found: Counter[str]) -> str:
    return ", ".join(f"{status}: {n:,}" for status, n in sorted(found.items()))


def _seconds(tally: Tally) -> float:
    return tally.memory[-1][0] if tally.memory else 0.0


if __name__ == "__main__":
    sys.exit(main())

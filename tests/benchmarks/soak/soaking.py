"""One soak against a server that runs: prepare, load, watch, look what is left. Draws and writes nothing."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from benchmarks.serving.servers import Running, log_of
from benchmarks.soak import world as worlds
from benchmarks.soak.caller import Caller, Failed
from benchmarks.soak.clients import Clients, fill
from benchmarks.soak.deck import Deck
from benchmarks.soak.samples import About, End, Sample, SampleFile
from benchmarks.soak.steps import percentile_ms, together
from benchmarks.soak.tally import Tally
from benchmarks.soak.verdicts import clock, n_good, n_hostile
from benchmarks.soak.watch import ServerGone, Watch
from benchmarks.soak.world import World
from diptych.settings import Settings

GONE = "the server ended by itself"
STUCK = "some requests did not end"
STOPPED = "stopped by a signal"
GALLERY_WITHIN_S = 300
TELL_EVERY_S = 10.0
MOST_LOST = 20
ERROR_WORDS = ('"level": "error"', '"level": "critical"', "Traceback")
MOST_ERRORS, MOST_CHARS = 1000, 1500


async def soak(server: Running, about: About, file: Path, data_dir: Path) -> None:
    """Everything between the start of the server and its stop; samples go to the file as they come."""
    log = log_of(server.name)
    world, tally = worlds.made(), Tally()
    with closing(Caller(server.port, Tally())) as caller:
        prepared = await _prepare(server, world, caller, about.clients)
        samples = SampleFile(file, replace(about, prepared=prepared))
        end = End(ended_by="an error of the benchmark itself")
        try:
            clients = Clients(server.port, world, tally, Deck(world, tally, about.hostile_share))
            watch = Watch(server.port, server.pid, data_dir, tally)
            ended_by = await _load(clients, watch, about, _teller(samples, about, tally))
            lost = [] if ended_by == GONE else await _lost(world, caller)
            end = End(ended_by, lost, await asyncio.to_thread(_errors, log))
        finally:
            samples.close(end)


async def _prepare(server: Running, world: World, caller: Caller, n_clients: int) -> str:
    """What is the case before the first second, in words for the report."""
    began = time.monotonic()
    while await worlds.n_in_gallery(caller) < len(world.pictures):
        if time.monotonic() > began + GALLERY_WITHIN_S:
            raise SystemExit("the gallery was not loaded in time")
        await asyncio.sleep(0.5)
    await worlds.make_collections(caller)
    await worlds.embed_alone(world, caller)
    n_labels = int(Settings.model_fields["label_cache_items"].default)
    _say(f"filling the cache of labels with {n_labels:,}: it grows to its bound, which is no leak")
    n_asked = await fill(server.port, world, n_labels, n_clients)
    _say(f"filled after {time.monotonic() - began:.0f} s")
    return f"Before the first second the cache of labels was filled to its bound, with {n_asked:,} labels."


async def _load(clients: Clients, watch: Watch, about: About, keep: Callable[[Sample], None]) -> str:
    """Why it ended before its time; empty when it did not."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    clients.start(about.clients)
    try:
        await watch.until(about.planned_s, stop, keep)
    except ServerGone:
        return GONE
    finally:
        have_ended = await clients.stop()
    if stop.is_set():
        return STOPPED
    return "" if have_ended else STUCK


async def _lost(world: World, caller: Caller) -> list[str]:
    """What was acknowledged and is not so: images that are missing, and images that were deleted."""
    try:
        there = await worlds.stored_ids(caller)
    except Failed as error:
        return [f"cannot be listed: {error}"]
    known = world.pool.ids()
    missing = [f"{id} is missing" for id in sorted(known - there)]
    # An image whose last request failed is in nobody's hands: it may be there or not.
    back = [f"{id} was deleted" for id in sorted(there & world.pool.deleted)]
    return (missing + back)[:MOST_LOST]


def _errors(log: Path) -> list[str]:
    """Lines of the server's log that nobody should see."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        found = (line.strip()[:MOST_CHARS] for line in lines if _is_bad(line))
        return list(islice(found, MOST_ERRORS))


def _is_bad(line: str) -> bool:
    """Every line is one JSON object: what is none was written past the log."""
    return not line.startswith("{") or any(word in line for word in ERROR_WORDS)


def _teller(samples: SampleFile, about: About, tally: Tally) -> Callable[[Sample], None]:
    """Keeps each sample, and says a line now and then."""
    since: list[Sample] = []

    def keep(sample: Sample) -> None:
        samples.add(sample)
        since.append(sample)
        for words in sample.counts.told:
            _say(words)
        if sum(one.seconds for one in since) >= TELL_EVERY_S:
            _say(_line(since, about, tally))
            since.clear()

    return keep


def _line(since: list[Sample], about: About, tally: Tally) -> str:
    last, seconds = since[-1], sum(sample.seconds for sample in since)
    p99 = percentile_ms(together(steps for one in since for steps in one.counts.ms.values()), 0.99)
    return (
        f"{clock(last.at_s)} of {clock(about.planned_s)}: {n_good(since) / seconds:.0f} good/s, "
        f"{n_hostile(since) / seconds:.1f} hostile/s, p99 {p99 or 0:.0f} ms, {last.resident / 1e6:.0f} MB, "
        f"server {sum(one.server_cpu_s for one in since) / seconds:.1f} cores, queue {last.queue_items:.0f}, "
        f"{'ready' if not last.ready else 'NOT READY'}; {tally.n_failed} failed, {tally.n_wrong} wrong, "
        f"{tally.n_refused} refused for a while"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

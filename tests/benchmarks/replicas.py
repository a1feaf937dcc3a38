"""`make bench-replicas`: what PostgreSQL costs beside SQLite, and what further servers on one database bring.

    PYTHONPATH=tests python -m benchmarks.replicas [--quick] [--write docs/scaling.md]

All servers, the database and the clients share the processors of this machine. So further servers cannot
answer more here; what tells how they scale is the processor time that a request takes.
"""

import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.load import Requests, Window, ask_once, in_turns, post_json, spread, window, windows
from benchmarks.report import (
    OtherPrograms,
    Verdict,
    command_line,
    conditions,
    finish,
    parser,
    run,
    say,
    table,
    verdicts_table,
)
from benchmarks.servers import Program, Running, cpu_seconds, diptych, running
from benchmarks.store import BATCH, new_images, new_rows, row_id
from support.default_model import DEFAULT_MODEL, MODEL_REPO
from support.postgres import Cluster, cluster, programs

MARKS = "bench-replicas"
SQLITE, ALONE, SHARED = "SQLite", "PostgreSQL, one server", "PostgreSQL, shared"
N_SERVERS = (1, 2, 3)
N_CLIENTS = 6  # of all servers together
MAX_MORE_MS = 3.0
TEXTS = ("a red bicycle", "a dog on a beach", "a house with a garden", "two cups of tea", "an old ship")


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int
    seconds: float
    n_rows: int
    n_rows_at_start: int


@dataclass
class Shared:
    """Windows of so many servers on one database, of one kind of request."""

    per_s: float
    server_cpu_ms: float
    database_cpu_ms: float
    p50_ms: float


def main() -> int:
    args = parser(__doc__, quick="one short round, few rows").parse_args()
    if programs() is None:
        sys.exit("needs the programs of PostgreSQL 16 or newer: make postgresql")
    sizes = Sizes(1, 1.0, 2_000, 4_000) if args.quick else Sizes(5, 3.0, 10_000, 250_000)
    others = OtherPrograms()
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as name, cluster(is_durable=True) as database:
        folder = Path(name)
        stores = compared_stores(folder / "stores", database, sizes)
        servers = further_servers(folder / "servers", database, sizes)
        starts = compared_starts(folder / "starts", database, sizes)
    said = (
        f"{conditions(command_line('bench-replicas', 'REPLICAS'))} {others.said()} The default model; "
        f"{sizes.n_rows:,} rows in the first two tables; medians of the rounds (lowest to highest). Stores "
        "and numbers of servers take turns."
    )
    tables = [stores_table(stores), servers_table(servers), starts_table(starts, sizes.n_rows_at_start)]
    finish("\n\n".join([said, *tables, verdicts_table(list(_verdicts(stores)))]) + "\n", args.write, MARKS)
    return 0


def kinds_of_requests(n_rows: int, *, batches: Iterator[int]) -> dict[str, Requests]:
    """Requests by what they do: searches by a stored image and by words, adds of images and of rows."""
    rng, numbers = np.random.default_rng(1), itertools.count()
    search = {"collection": "rows", "k": 10}
    by_id = (post_json("/search", search | {"query": {"id": row_id(n * 7919 % n_rows)}}) for n in numbers)
    by_text = [post_json("/search", search | {"query": {"text": text}}) for text in TEXTS]
    rows = (new_rows(rng, BATCH * batch) for batch in batches)
    return {
        "search by an image of the collection": Requests(by_id),
        "search by words": Requests(by_text),
        "add of an image": Requests(new_images("/collections/images/images", 1, itertools.count())),
        f"add of {BATCH:,} ready-made vectors, per row": Requests(rows, BATCH),
    }


def compared_stores(folder: Path, database: Cluster, sizes: Sizes) -> dict[str, dict[str, list[Window]]]:
    """Of each kind of request and store, the windows of the rounds, one client each."""
    with ExitStack() as stack:
        stores = {
            name: stack.enter_context(running(one)) for name, one in _programs(folder, database).items()
        }
        for name, server in stores.items():
            say(f"{name}: {sizes.n_rows:,} rows")
            _fill(server, sizes.n_rows)
        kinds = {
            name: kinds_of_requests(sizes.n_rows, batches=itertools.count(sizes.n_rows // BATCH))
            for name in stores
        }
        found: dict[str, dict[str, list[Window]]] = {}
        for kind in kinds[SQLITE]:
            say(kind)
            measures = [
                partial(window, server, kinds[name][kind], 1, sizes.seconds)
                for name, server in stores.items()
            ]
            found[kind] = dict(zip(stores, in_turns(sizes.rounds, measures), strict=True))
    _fail_on_errors(one for kinds in found.values() for rounds in kinds.values() for one in rounds)
    return found


def further_servers(folder: Path, database: Cluster, sizes: Sizes) -> dict[str, dict[int, list[Shared]]]:
    """Of each kind of request and number of servers on one database, what the rounds came to."""
    url = database.url()
    with ExitStack() as stack:
        programs = [_shared(folder, url, f"server-{number}") for number in range(max(N_SERVERS))]
        servers = [stack.enter_context(running(one)) for one in programs]
        say(f"{len(servers)} servers: {sizes.n_rows:,} rows")
        _fill(servers[0], sizes.n_rows)
        kinds = kinds_of_requests(sizes.n_rows, batches=itertools.count(sizes.n_rows // BATCH))
        found = {}
        for name, kind in kinds.items():
            say(f"{', '.join(map(str, N_SERVERS))} servers: {name}")
            measures = [partial(_together, servers[:n], kind, database, sizes.seconds) for n in N_SERVERS]
            found[name] = dict(zip(N_SERVERS, in_turns(sizes.rounds, measures), strict=True))
    return found


def _together(servers: Sequence[Running], requests: Requests, database: Cluster, seconds: float) -> Shared:
    """Load on all of the servers. The time of the database is that of the load and its warm-up."""
    before, n_before = cpu_seconds(database.pid), requests.n_sent
    found = windows(servers, requests, N_CLIENTS // len(servers), seconds)
    database_s = cpu_seconds(database.pid) - before
    _fail_on_errors(found)
    n_items = (requests.n_sent - n_before) * requests.n_items
    per_s = sum(one.per_s for one in found)
    return Shared(
        per_s=per_s,
        server_cpu_ms=sum(one.cpu_ms * one.per_s for one in found) / per_s,
        database_cpu_ms=1000 * database_s / n_items,
        p50_ms=median(ms for one in found for ms in one.latencies_ms),
    )


def compared_starts(folder: Path, database: Cluster, sizes: Sizes) -> dict[str, list[float]]:
    """Seconds until a server is ready whose collection has many rows, in turns."""
    known, url = folder / "known", database.url()
    stores = {SQLITE: _sqlite(folder), SHARED: _shared(known, url, "data")}
    for name, program in stores.items():
        say(f"{name}: {sizes.n_rows_at_start:,} rows")
        with running(program) as server:
            _fill(server, sizes.n_rows_at_start)
    fresh = (_shared(known, url, f"new-{number}") for number in itertools.count())
    makers: dict[str, Callable[[], Program]] = {
        SQLITE: lambda: stores[SQLITE],
        f"{SHARED}, its own data folder": lambda: stores[SHARED],
        f"{SHARED}, a new data folder": lambda: next(fresh),
    }
    say("starts")
    rounds = in_turns(min(sizes.rounds, 3), [partial(_ready_s, make) for make in makers.values()])
    return dict(zip(makers, rounds, strict=True))


def _ready_s(program: Callable[[], Program]) -> float:
    with running(program()) as server:
        return server.ready_s


def _programs(folder: Path, database: Cluster) -> dict[str, Program]:
    """A server of each kind of store."""
    alone = ("--store", database.url())
    return {
        SQLITE: _sqlite(folder),
        ALONE: diptych(MODEL_REPO, DEFAULT_MODEL, folder / "alone", *alone, name="replicas-alone"),
        SHARED: _shared(folder / "shared", database.url(), "data"),
    }


def _sqlite(folder: Path) -> Program:
    return diptych(MODEL_REPO, DEFAULT_MODEL, folder / "sqlite", name="replicas-sqlite")


def _shared(folder: Path, url: str, name: str) -> Program:
    """A server on a database whose originals are in a common folder."""
    originals = folder / "originals"
    originals.mkdir(parents=True, exist_ok=True)
    flags = ("--store", url, "--originals", f"file://{originals}")
    return diptych(MODEL_REPO, DEFAULT_MODEL, folder / name, *flags, name=f"replicas-{name}")


def _fill(server: Running, n_rows: int) -> None:
    rng = np.random.default_rng(0)
    for name in ("rows", "images"):
        ask_once(server, post_json("/collections", {"name": name}))
    for start in range(0, n_rows, BATCH):
        ask_once(server, new_rows(rng, start))


def _fail_on_errors(found: Iterator[Window] | Sequence[Window]) -> None:
    for one in found:
        if one.n_errors:
            sys.exit(f"{one.n_errors} requests failed: {one.errors[0]}")


def stores_table(found: Mapping[str, Mapping[str, Sequence[Window]]]) -> str:
    """The latency of each kind of request by store, one client."""
    names = list(next(iter(found.values())))
    rows = [
        [
            f"{kind}, {'items/s' if kind.startswith('add') else 'p50 ms'}",
            *(_figure(kind, of[name]) for name in names),
        ]
        for kind, of in found.items()
    ]
    return table(["one client", *names], rows)


def _figure(kind: str, rounds: Sequence[Window]) -> str:
    if kind.startswith("add"):
        return spread([one.per_s for one in rounds], 0)
    return spread([one.p50_ms for one in rounds])


def servers_table(found: Mapping[str, Mapping[int, Sequence[Shared]]]) -> str:
    """Rate and processor time of each kind of request by the number of servers."""
    figures = ("p50_ms", "server_cpu_ms", "database_cpu_ms")
    rows = []
    for kind, of in found.items():
        for n, rounds in of.items():
            medians = (median(getattr(one, name) for one in rounds) for name in figures)
            rate = spread([one.per_s for one in rounds], 0)
            rows.append([kind, str(n), rate, *(f"{one:.3g}" for one in medians)])
    header = ["servers", "items/s", "p50 ms", "processor ms of servers an item", "of the database"]
    return table([f"{N_CLIENTS} clients", *header], rows)


def starts_table(found: Mapping[str, Sequence[float]], n_rows: int) -> str:
    """Seconds until a server is ready."""
    return table([f"start with {n_rows:,} rows", "s"], [[name, spread(one)] for name, one in found.items()])


def _verdicts(found: Mapping[str, Mapping[str, Sequence[Window]]]) -> Iterator[Verdict]:
    for kind, of in found.items():
        if kind.startswith("search"):
            more = median(
                there.p50_ms - here.p50_ms for here, there in zip(of[SQLITE], of[SHARED], strict=True)
            )
            what = f"{kind}: p50 of PostgreSQL, shared, above SQLite's, ms"
            yield Verdict(what, f"<= {MAX_MORE_MS:g}", f"{more:.1f}", more <= MAX_MORE_MS)


if __name__ == "__main__":
    run(main)

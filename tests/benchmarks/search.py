"""`make bench-search`: searches of small and large collections over HTTP, beside FAISS alone.

    PYTHONPATH=tests python -m benchmarks.search [--quick] [--million] [--write FILE]

Rows are the sample gallery's embeddings with noise. FAISS compares the same rows with the same queries, in
this process, after the server has ended. The status is 1 when a bar is missed.
"""

import argparse
import asyncio
import itertools
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np

from benchmarks.load import (
    MULTIPART,
    OCTETS,
    Connection,
    Part,
    Requests,
    form,
    percentile,
    post,
    post_json,
    window,
)
from benchmarks.report import Verdict, command_line, conditions, finish, say, table, verdicts_table
from benchmarks.servers import REPOSITORY, Running, ask, diptych, running
from benchmarks.store import ask as ask_json
from support.default_model import DEFAULT_MODEL, MODEL_REPO, default_bundle

MARKS = "bench-search"
SIZES, QUICK_SIZES, MILLION = (10_000, 100_000), (2_000, 4_000), 1_000_000
CLIENTS = (1, 16)
BATCH, K, NOISE, CYCLE = 1_000, 10, 0.1, 10_000
N_TIMED, N_COMPARED = 20, 10  # requests whose parts are read; queries whose hits are compared
READY_BAR_S = 10.0
COLLECTION = "rows"
FILTERS = {"none": None, "50%": {"n": {"lt": 5_000}}, "1%": {"n": {"lt": 100}}, "0.01%": {"n": 0}}
PASSING = {"none": CYCLE, "50%": 5_000, "1%": 100, "0.01%": 1}  # of `CYCLE` rows
_PARTS = re.compile(r"(filter|index|metadata);dur=([0-9.]+)")


@dataclass(frozen=True)
class Speed:
    """Searches by so many clients at once."""

    per_s: float
    p50_ms: float
    p99_ms: float


@dataclass
class Searched:
    """One kind of search in a collection of one size: by clients, over HTTP and by FAISS alone."""

    n_rows: int
    filter: str
    first_filter_ms: float  # of the first search with this filter, which reads all metadata
    served: dict[int, Speed]
    parts_ms: dict[str, float]
    alone: dict[int, Speed]
    n_same: int = 0


@dataclass(frozen=True)
class Started:
    """A start with a collection of one size."""

    n_rows: int
    ready_s: float
    load_s: float
    vectors_mb: float
    resident_mb: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, short: to try the benchmark")
    parser.add_argument("--million", action="store_true", help="a million rows as well (3 GB of disk)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the file's marks")
    args = parser.parse_args()
    seconds, sizes = (1.0, QUICK_SIZES) if args.quick else (5.0, SIZES)
    starts, searches = list[Started](), list[Searched]()
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder:
        rows = Rows()
        for n_rows in (*sizes, MILLION) if args.million else sizes:
            say(f"{n_rows:,} rows")
            started, found = measured(Path(folder, "data"), rows, n_rows, seconds)
            starts.append(started)
            searches += found
    verdicts = list(verdicts_of(starts, searches))
    said = (
        f"{conditions(command_line('bench-search', 'SEARCH'))} faiss {faiss.__version__}, one thread a "
        f"search. The default model's embeddings of the sample gallery with Gaussian noise of norm {NOISE}; "
        f"queries are stored ids, {K} hits. Parts of a search are medians at one client."
    )
    text = "\n\n".join([said, searches_table(searches), starts_table(starts), verdicts_table(verdicts)])
    finish(text + "\n", args.write, MARKS)
    return 0 if all(verdict.met for verdict in verdicts) else 1


class Rows:
    """The rows that collections hold, the same in each run of a model version."""

    def __init__(self) -> None:
        self._gallery = np.empty((0, 0), np.float32)

    def embed_gallery(self, server: Running) -> None:
        """Embed the sample gallery, once."""
        if not len(self._gallery):
            files = sorted((REPOSITORY / "server" / "gallery").glob("*.png"))
            found = [ask(server.port, "/embed", file.read_bytes(), "image/png", OCTETS) for file in files]
            self._gallery = np.stack([np.frombuffer(one, "<f4") for one in found])

    def batch(self, start: int) -> "np.ndarray":
        """The rows `start` to `start + BATCH`: (BATCH, D), of unit norm."""
        rng, embed_dim = np.random.default_rng(start), self._gallery.shape[1]
        rows = self._gallery[np.arange(start, start + BATCH) % len(self._gallery)]
        noise = rng.standard_normal(rows.shape, dtype=np.float32) * np.float32(NOISE / embed_dim**0.5)
        rows = rows + noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def first(self, n_rows: int) -> "np.ndarray":
        """The first rows (N, D)."""
        return np.concatenate([self.batch(start) for start in range(0, n_rows, BATCH)])


def measured(data_dir: Path, rows: Rows, n_rows: int, seconds: float) -> tuple[Started, list[Searched]]:
    """Grow the collection to so many rows, start anew, and search."""
    program = diptych(MODEL_REPO, DEFAULT_MODEL, data_dir, name="search")
    with running(program) as server:
        rows.embed_gallery(server)
        _fill(server, rows, n_rows)
    found = list[Searched]()
    hits = dict[str, list[list[int]]]()
    with running(program) as server:
        for name in FILTERS:
            first = asyncio.run(_parts(server.port, next(_messages(n_rows, name)))).get("filter", 0.0)
            served = {}
            for n_clients in CLIENTS:
                one = window(server, Requests(_messages(n_rows, name)), n_clients, seconds)
                if one.n_errors:
                    sys.exit(f"{name}: {one.errors[0]}")
                served[n_clients] = Speed(one.per_s, one.p50_ms, one.p99_ms)
            parts, hits[name] = asyncio.run(_examined(server.port, n_rows, name))
            found.append(Searched(n_rows, name, first, served, parts, {}))
        memory, loaded = (_collection(server)[name] for name in ("memory_bytes", "load_s"))
        started = Started(n_rows, server.ready_s, loaded, memory / 1e6, one.resident_mb)
    _search_alone(rows.first(n_rows), found, hits, seconds)
    return started, found


def _collection(server: Running) -> dict[str, Any]:
    """What the server says of the collection; empty if there is none yet."""
    listed = json.loads(ask(server.port, "/collections"))["collections"]
    return next((one for one in listed if one["name"] == COLLECTION), {})


def _fill(server: Running, rows: Rows, n_rows: int) -> None:
    if not (there := _collection(server).get("n_images", 0)):
        ask_json(server, post_json("/collections", {"name": COLLECTION}))
    origin = json.dumps({"name": DEFAULT_MODEL, "version": int(default_bundle().name)}).encode()
    for start in range(there, n_rows, BATCH):
        items = [
            {"id": _id(n), "metadata": {"n": n % CYCLE, "title": f"picture number {n} of the set"}}
            for n in range(start, start + BATCH)
        ]
        parts = [
            Part("model", origin),
            Part("embeddings", rows.batch(start).astype("<f4").tobytes(), OCTETS),
            Part("items", json.dumps(items).encode()),
        ]
        ask_json(server, post(f"/collections/{COLLECTION}/vectors", form(parts), MULTIPART))


def _id(n: int) -> str:
    return f"image-{n:08}"


def _queries(n_rows: int) -> Iterator[int]:
    """The rows that are asked for, without an end; for any number of threads."""
    return itertools.cycle(np.random.default_rng(0).permutation(n_rows).tolist())


def _messages(n_rows: int, filter: str) -> Iterator[bytes]:
    clause = FILTERS[filter]
    body: dict[str, Any] = {"collection": COLLECTION, "k": K} | ({"filter": clause} if clause else {})
    return (post_json("/search", body | {"query": {"id": _id(n)}}) for n in _queries(n_rows))


async def _parts(port: int, message: bytes) -> dict[str, float]:
    """The milliseconds of the parts of one search."""
    connection = Connection(port)
    answer = await connection.ask(message)
    connection.close()
    return {name: float(ms) for name, ms in _PARTS.findall(answer.headers["server-timing"])}


async def _examined(port: int, n_rows: int, filter: str) -> tuple[dict[str, float], list[list[int]]]:
    """The medians of the parts of a search, and the rows that the first queries find."""
    connection, parts, hits = Connection(port), dict[str, list[float]](), list[list[int]]()
    for message in itertools.islice(_messages(n_rows, filter), N_TIMED):
        answer = await connection.ask(message)
        for name, ms in _PARTS.findall(answer.headers["server-timing"]):
            parts.setdefault(name, []).append(float(ms))
        hits.append([int(hit["id"].removeprefix("image-")) for hit in answer.json()["hits"]])
    connection.close()
    return {name: median(ms) for name, ms in parts.items()}, hits[:N_COMPARED]


def _search_alone(
    rows: "np.ndarray", kinds: Sequence[Searched], hits: dict[str, list[list[int]]], seconds: float
) -> None:
    """Search the same rows with FAISS, one thread a client."""
    index: Any = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    for kind in kinds:
        n_all = np.arange(len(rows))
        allowed = None if kind.filter == "none" else n_all[n_all % CYCLE < PASSING[kind.filter]]

        def search(row: int, allowed: Any = allowed) -> list[int]:
            selector = None if allowed is None else faiss.IDSelectorBatch(allowed)
            params = None if selector is None else faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
            found = index.search(rows[row : row + 1], K + 1, params=params)[1][0]
            return [int(one) for one in found if one not in {-1, row}][:K]  # the server leaves out the query

        for n_clients in CLIENTS:
            kind.alone[n_clients] = _speed(search, _queries(len(rows)), n_clients, seconds)
        kind.n_same = sum(
            search(row) == found for row, found in zip(_queries(len(rows)), hits[kind.filter], strict=False)
        )


def _speed(search: Any, queries: Iterator[int], n_clients: int, seconds: float) -> Speed:
    """Let so many threads search for so long."""
    end = time.perf_counter() + seconds

    def client(_: int) -> list[float]:
        spent = list[float]()
        while (began := time.perf_counter()) < end:
            search(next(queries))
            spent.append(1000 * (time.perf_counter() - began))
        return spent

    with ThreadPoolExecutor(n_clients, initializer=faiss.omp_set_num_threads, initargs=(1,)) as threads:
        ms = sorted(itertools.chain(*threads.map(client, range(n_clients))))
    return Speed(len(ms) / seconds, percentile(ms, 0.5), percentile(ms, 0.99))


def searches_table(searches: Sequence[Searched]) -> str:
    """One line for each size and filter."""
    one, many = CLIENTS
    header = [
        "rows, share that passes the filter",
        "p50 ms",
        "p99 ms",
        "searches/s",
        f"{many} clients: p50 ms",
        "p99 ms",
    ]
    header += [
        "searches/s",
        "filter ms, first time",
        "filter ms",
        "index ms",
        "metadata ms",
        "faiss: p50 ms",
        f"faiss: searches/s, {one} and {many}",
    ]
    cells = []
    for found in searches:
        served = [found.served[n] for n in CLIENTS]
        numbers = [f"{value:,.1f}" for speed in served for value in (speed.p50_ms, speed.p99_ms, speed.per_s)]
        parts = [
            f"{found.parts_ms[name]:,.1f}" if name in found.parts_ms else "-"
            for name in ("filter", "index", "metadata")
        ]
        first = f"{found.first_filter_ms:,.1f}" if found.first_filter_ms else "-"
        rates = " and ".join(f"{found.alone[n].per_s:,.0f}" for n in CLIENTS)
        share = "" if found.filter == "none" else f", {found.filter}"
        cells.append(
            [f"{found.n_rows:,}{share}", *numbers, first, *parts, f"{found.alone[one].p50_ms:,.1f}", rates]
        )
    return table(header, cells)


def starts_table(starts: Sequence[Started]) -> str:
    """One column for each size."""
    cells = [
        ["start until ready, s", *(f"{one.ready_s:.1f}" for one in starts)],
        ["of it reading the vectors, s", *(f"{one.load_s:.2f}" for one in starts)],
        ["vectors in memory, MB", *(f"{one.vectors_mb:,.0f}" for one in starts)],
        ["memory of the server, MB", *(f"{one.resident_mb:,.0f}" for one in starts)],
    ]
    return table(["rows", *(f"{one.n_rows:,}" for one in starts)], cells)


def verdicts_of(starts: Sequence[Started], searches: Sequence[Searched]) -> Iterator[Verdict]:
    """Whether starts are short, and hits those of FAISS."""
    for one in starts:
        what = f"ready with {one.n_rows:,} rows, s"
        yield Verdict(what, f"<= {READY_BAR_S:g}", f"{one.ready_s:.1f}", one.ready_s <= READY_BAR_S)
    n_same, n_all = sum(one.n_same for one in searches), N_COMPARED * len(searches)
    yield Verdict("queries with the hits of FAISS", f"{n_all}", f"{n_same}", n_same == n_all)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")

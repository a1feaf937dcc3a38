"""`make bench-search`: searches of small and large collections over HTTP, then of their indexes alone.

    PYTHONPATH=tests python -m benchmarks.search [--quick] [--million] [--rows N ...] [--write FILE]

Over HTTP, rows are embeddings of icons of the data set `pictograms` (of the sample gallery where the data set
is not built, and with --quick) and, beyond their number, the same with noise. FAISS compares the same rows
with the same queries after the server has ended. `search_words` measures the index by words, beside those of
other libraries. The status is 1 when a bar is missed.
"""

import asyncio
import itertools
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

from benchmarks import search_words
from benchmarks.environments import installed
from benchmarks.load import Connection, Requests, add_vectors, ask_once, percentile, post_json, window
from benchmarks.relevance import packed, sample_gallery
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
from benchmarks.servers import REPOSITORY, Running, cpu_seconds, diptych, get_json, in_cache, running
from benchmarks.store import row_id
from diptych.adapters.faiss.cpu_index import MIN_ROWS
from diptych.adapters.files.index_files import FOLDER
from diptych.bundle.repository import ModelRepository
from diptych.core.collections.upkeep.index_texts import nouns
from diptych_training.data.packed import INDEX_FILE, read_dataset
from diptych_training.evaluate.evaluated_model import load_evaluated_bundle
from diptych_training.paths import data_dir
from support.default_model import DEFAULT_MODEL, MODEL_REPO, default_bundle

MARKS = "bench-search"
SIZES, QUICK_SIZES, MILLION = (10_000, 100_000), (2_000, 4_000), 1_000_000
CLIENTS = (1, 16)
TRAINED_WITHIN_S = 1_800
BATCH, K, NOISE, CYCLE = 1_000, 10, 0.1, 10_000
N_TIMED, N_COMPARED = 20, 10  # requests whose parts are read; queries whose hits are compared
N_ICONS, PRECISION = 20_000, "int8"  # embedded once, and kept in the cache
READY_BAR_S, RECALL_BAR = 10.0, 0.99
COLLECTION = "rows"
FILTERS = {"none": None, "50%": {"n": {"lt": 5_000}}, "1%": {"n": {"lt": 100}}, "0.01%": {"n": 0}}
PASSING = {"none": CYCLE, "50%": 5_000, "1%": 100, "0.01%": 1}  # of `CYCLE` rows
_PARTS = re.compile(r"(filter|index|metadata|encode|total);dur=([0-9.]+)")


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
    n_near: int = 0  # of N_COMPARED * K hits, those that are as near as FAISS's


@dataclass(frozen=True)
class Started:
    """A start with a collection of one size."""

    n_rows: int
    ready_s: float
    cpu_s: float
    load_s: float
    vectors_mb: float
    resident_mb: float
    by_words: Sequence[dict[str, float]] = ({}, {})  # parts in ms, by new words and by the same again


def main() -> int:
    flags = parser(__doc__, quick="few rows, short")
    flags.add_argument("--million", action="store_true", help="a million rows as well (5 GB of disk)")
    flags.add_argument("--rows", type=int, nargs="+", metavar="N", help="of each collection, instead")
    args = flags.parse_args()
    seconds, sizes = (1.0, QUICK_SIZES) if args.quick else (5.0, SIZES)
    sizes = args.rows or [*sizes, *([MILLION] if args.million else [])]
    starts, searches, alone, verdicts = list[Started](), list[Searched](), list[str](), list[Verdict]()
    pictures, source = embedded(with_icons=not args.quick)
    rows, others = Rows(pictures), OtherPrograms()
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder:
        for n_rows in sizes:
            say(f"{n_rows:,} rows, over HTTP")
            started, found = measured(Path(folder), rows, n_rows, seconds)
            starts.append(started)
            searches += found
            say(f"found over HTTP:\n{searches_table(found)}\n{starts_table([started])}")
    for n_rows in sizes:
        text, met = search_words.measured(n_rows, seconds)
        say(f"found:\n{text}")
        alone.append(text)
        verdicts += met
    over_http = list(verdicts_of(starts, searches))
    said = (
        f"{conditions(command_line('bench-search', 'SEARCH'))} faiss {faiss.__version__}, "
        f"{installed('search')}, one thread a search. {others.said()} Over HTTP, the first {len(pictures):,} "
        f"rows are {source} embedded by the default model, the others the same with noise of norm {NOISE}; "
        f"queries are stored ids, {K} hits. Parts of a search are medians at one client."
    )
    tables = [searches_table(searches), starts_table(starts), verdicts_table(over_http), *alone]
    finish("\n\n".join([said, *tables]) + "\n", args.write, MARKS)
    return 0 if all(verdict.met for verdict in [*over_http, *verdicts]) else 1


def embedded(*, with_icons: bool) -> "tuple[np.ndarray, str]":
    """Distinct embeddings (N, D) by the default model, in random order, and of which pictures they are."""
    name, version = DEFAULT_MODEL, int(default_bundle().name)
    model = load_evaluated_bundle(
        ModelRepository(MODEL_REPO), name, version, precision=PRECISION, n_threads=1
    )
    if with_icons and (data_dir() / INDEX_FILE).is_file():
        say(f"embedding {N_ICONS:,} icons, or reading them from the cache")
        found = packed(model, read_dataset(data_dir()), "eval", N_ICONS, in_cache("embeddings")).rows
        source = "icons of the data set `pictograms`"
    else:
        found = sample_gallery(model, REPOSITORY / "server" / "gallery")[0].rows
        source = "pictures of the sample gallery"
    return np.random.default_rng(0).permutation(np.unique(found, axis=0)), source


class Rows:
    """The rows that collections hold: embeddings of pictures (N, D), then the same ones with noise."""

    def __init__(self, pictures: "np.ndarray") -> None:
        self._pictures = pictures

    def batch(self, start: int) -> "np.ndarray":
        """The rows `start` to `start + BATCH`: (BATCH, D), of unit norm; the same in each run."""
        numbers = np.arange(start, start + BATCH)
        rows = self._pictures[numbers % len(self._pictures)]
        noise = np.random.default_rng(start).standard_normal(rows.shape, dtype=np.float32)
        noise[numbers < len(self._pictures)] = 0
        rows = rows + noise * np.float32(NOISE / rows.shape[1] ** 0.5)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def first(self, n_rows: int) -> "np.ndarray":
        """The first rows (N, D)."""
        return np.concatenate([self.batch(start) for start in range(0, n_rows, BATCH)])


def measured(folder: Path, rows: Rows, n_rows: int, seconds: float) -> tuple[Started, list[Searched]]:
    """Grow the collection to so many rows, start anew, and search."""
    program = diptych(MODEL_REPO, DEFAULT_MODEL, folder / "data", name="search")
    with running(program) as server:
        _fill(server, rows, n_rows)
        _wait_for_index(server, n_rows, folder / "data" / FOLDER)
    found = list[Searched]()
    hits = dict[str, list[list[int]]]()
    with running(program) as server:
        cpu_s = cpu_seconds(server.pid)
        for name in FILTERS:
            messages = [*itertools.islice(_messages(n_rows, name), N_TIMED)]
            first, _ = asyncio.run(_examined(server.port, messages[:1]))
            served = {}
            for n_clients in CLIENTS:
                one = window(server, Requests(_messages(n_rows, name)), n_clients, seconds)
                if one.n_errors:
                    sys.exit(f"{name}: {one.errors[0]}")
                served[n_clients] = Speed(one.per_s, one.p50_ms, one.p99_ms)
            parts, hits[name] = asyncio.run(_examined(server.port, messages))
            found.append(Searched(n_rows, name, first.get("filter", 0.0), served, parts, {}))
        body = {"collection": COLLECTION, "k": K}
        words = [post_json("/search", body | {"query": {"text": text}}) for text in nouns()[:N_TIMED]]
        by_words = [asyncio.run(_examined(server.port, words))[0] for _ in ("new", "again")]
        memory, loaded = (_collection(server)[name] for name in ("memory_bytes", "load_s"))
        started = Started(n_rows, server.ready_s, cpu_s, loaded, memory / 1e6, one.resident_mb, by_words)
    _search_alone(rows.first(n_rows), found, hits, seconds)
    return started, found


def _collection(server: Running) -> dict[str, Any]:
    """What the server says of the collection; empty if there is none yet."""
    listed = get_json(server.port, "/collections")["collections"]
    return next((one for one in listed if one["name"] == COLLECTION), {})


def _wait_for_index(server: Running, n_rows: int, folder: Path) -> None:
    """Wait until a large collection has an index, and files of it."""
    deadline = time.monotonic() + TRAINED_WITHIN_S
    while n_rows >= MIN_ROWS and not (
        _collection(server)["index"]["kind"] == "ivf" and any(folder.glob("*.ivf"))
    ):
        if time.monotonic() > deadline:
            sys.exit(f"the index is not ready after {TRAINED_WITHIN_S} s")
        time.sleep(1)


def _fill(server: Running, rows: Rows, n_rows: int) -> None:
    if not (there := _collection(server).get("n_images", 0)):
        ask_once(server, post_json("/collections", {"name": COLLECTION}))
    origin = DEFAULT_MODEL, int(default_bundle().name)
    for start in range(there, n_rows, BATCH):
        numbers = range(start, start + BATCH)
        metadata = [{"n": n % CYCLE, "title": f"picture number {n} of the set"} for n in numbers]
        ids = [row_id(n) for n in numbers]
        ask_once(server, add_vectors(COLLECTION, origin, ids, rows.batch(start), metadata))


def _queries(n_rows: int) -> Iterator[int]:
    """The rows that are asked for, without an end; for any number of threads."""
    return itertools.cycle(np.random.default_rng(0).permutation(n_rows).tolist())


def _messages(n_rows: int, filter: str) -> Iterator[bytes]:
    clause = FILTERS[filter]
    body: dict[str, Any] = {"collection": COLLECTION, "k": K} | ({"filter": clause} if clause else {})
    return (post_json("/search", body | {"query": {"id": row_id(n)}}) for n in _queries(n_rows))


async def _examined(port: int, messages: Sequence[bytes]) -> tuple[dict[str, float], list[list[int]]]:
    """The medians of the parts of a search in ms, and the rows that the first queries find."""
    connection, parts, hits = Connection(port), dict[str, list[float]](), list[list[int]]()
    for message in messages:
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
        kind.n_near = sum(
            n_as_near(rows @ rows[row], search(row), found)
            for row, found in zip(_queries(len(rows)), hits[kind.filter], strict=False)
        )


def n_as_near(cosines: "np.ndarray", hits: list[int], others: list[int]) -> int:
    """How many of `others` are as near as the worst of `hits`: rows with the same cosine may stand for each
    other. Of fewer hits than K, as many count as all.
    """
    if not hits:
        return K - len(others)
    n_near = np.count_nonzero(cosines[[*{*others}]] >= cosines[hits].min() - 1e-6)
    return int(n_near) + K - len(hits)


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
        "rows, share that passes the filter", "p50 ms", "p99 ms", "searches/s", f"{many} clients: p50 ms",
        "p99 ms", "searches/s", "filter ms, first time", "filter ms", "index ms", "metadata ms",
        "faiss: p50 ms", f"faiss: searches/s, {one} and {many}",
    ]  # fmt: skip
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
        ["processor seconds of the start", *(f"{one.cpu_s:.1f}" for one in starts)],
        ["of it reading the vectors, s", *(f"{one.load_s:.2f}" for one in starts)],
        ["vectors in memory, MB", *(f"{one.vectors_mb:,.0f}" for one in starts)],
        *(
            [f"{part} ms of a search by {words}", *(f"{one.by_words[n].get(key, 0):.1f}" for one in starts)]
            for n, words in enumerate(("new words", "the same words again"))
            for key, part in (("total", "all"), ("encode", "text encoding"), ("index", "index"))
        ),
        ["memory of the server, MB", *(f"{one.resident_mb:,.0f}" for one in starts)],
    ]
    return table(["rows", *(f"{one.n_rows:,}" for one in starts)], cells)


def verdicts_of(starts: Sequence[Started], searches: Sequence[Searched]) -> Iterator[Verdict]:
    """Whether starts are short, and hits those of FAISS."""
    for one in starts:
        what = f"ready with {one.n_rows:,} rows, s"
        yield Verdict(what, f"<= {READY_BAR_S:g}", f"{one.ready_s:.1f}", one.ready_s <= READY_BAR_S)
    for what, bound, some in (
        ("below", 1.0, [one for one in searches if one.n_rows < MIN_ROWS]),
        ("from", RECALL_BAR, [one for one in searches if one.n_rows >= MIN_ROWS]),
    ):
        if some:
            share = sum(one.n_near for one in some) / (N_COMPARED * K * len(some))
            said = f"share of FAISS's hits that are found, {what} {MIN_ROWS:,} rows"
            yield Verdict(said, f">= {bound:g}", f"{share:.3f}", share >= bound)


if __name__ == "__main__":
    run(main)

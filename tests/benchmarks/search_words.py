"""Searches by words in a large collection: the server's index beside indexes of FAISS, in one process.

    PYTHONPATH=tests python -m benchmarks.search_words [--rows N ...] [--write FILE]

Rows are embeddings of the sample gallery, then mixes of two near ones with noise of norm 0.3 to 0.5. Queries
are names of the gallery's pictures, nouns that none of them shows, and pictures that are not among the rows;
half of the names and other nouns tune the index. One thread a search, all indexes in turns. Times are
processor time of the whole process, which other programs do not lengthen much. The status is 1 when a bar is
missed.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.environments import environment, installed
from benchmarks.load import percentile
from benchmarks.relevance import sample_gallery
from benchmarks.report import (
    OtherPrograms,
    Verdict,
    conditions,
    finish,
    say,
    table,
    verdicts_table,
)
from benchmarks.servers import REPOSITORY
from diptych.adapters.faiss.cpu_index import Approximation, FaissCpuIndex
from diptych.adapters.faiss.threads import IndexThreads, training_thread
from diptych.adapters.files.index_files import IndexFiles
from diptych.adapters.files.quota import Quota
from diptych.bundle.repository import ModelRepository
from diptych.core.collections.index_texts import nouns
from diptych_training.evaluate.embedding import embed_texts
from diptych_training.evaluate.evaluated_model import load_evaluated_bundle
from support.default_model import DEFAULT_MODEL, MODEL_REPO, default_bundle

MARKS = "bench-search-words"
SIZES, K, BATCH = (100_000, 1_000_000), 10, 10_000
USEARCH_RUN = Path(__file__).with_name("usearch_words.py")
HNSW_ROWS = 250_000  # building a graph takes ten times as long for a million rows
N_NAMES, N_NOUNS, N_PICTURES, N_TIMED = 300, 400, 100, 40
N_TUNING_NOUNS = 200
N_NEAR = 10  # pictures that one is mixed with
CLIENTS, SECONDS = (1, 16), 4.0
SHARES = (0.5, 0.1, 0.01, 0.0001)
SAME = 1e-5  # cosines nearer than this are equal
NAME = "1_bench"
RECALL_BAR, FILTER_BAR, CPU_BAR_MS, MEMORY_BAR_GB, READY_BAR_S = 0.99, 0.98, 10.0, 0.6, 10.0

Rows = Any
Search = Callable[[Rows], Awaitable[Rows]]  # a query (D,) -> keys, best first


@dataclass
class Measured:
    """One index."""

    name: str
    recall: dict[str, float] = field(default_factory=dict)  # by the kind of queries
    ms: list[float] = field(default_factory=list)  # of processor time, of each timed query
    per_s: dict[int, float] = field(default_factory=dict)  # by clients
    memory_gb: float = 0.0
    build_s: float = 0.0  # of processor time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, metavar="N", help="of each collection")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the file's marks")
    args = parser.parse_args()
    return 0 if reported(args.rows, args.write) else 1


def reported(sizes: Sequence[int], file: Path | None) -> bool:
    """Measure collections of so many rows, and write the report. Returns whether all bars are met."""
    others, texts, met = OtherPrograms(), list[str](), True
    for n_rows in sizes:
        with tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder:
            text, verdicts = asyncio.run(measured(n_rows, Path(folder)))
        texts.append(text)
        met &= all(verdict.met for verdict in verdicts)
    command = f"PYTHONPATH=tests python -m benchmarks.search_words --rows {' '.join(map(str, sizes))}"
    head = f"{conditions(command)} faiss {faiss.__version__}, {installed('usearch')}. {others.said()}"
    finish("\n\n".join([head, *texts]) + "\n", file, MARKS)
    return met


async def measured(n_rows: int, folder: Path) -> tuple[str, list[Verdict]]:
    """The tables and bars of a collection of so many rows. `folder` is for the index's files."""
    faiss.omp_set_num_threads(1)
    pictures, tuning, queries = asked()
    say(f"making {n_rows:,} rows")
    rows = mixed(pictures, n_rows)
    own, index, ready_s = await _own_index(rows, tuning, folder)
    engines: dict[str, tuple[Measured, Search]] = {"diptych": (own, lambda query: _keys(index, query))}
    say("FAISS alone")
    for one, searched in _rivals(rows, queries["pictures"]):
        engines[one.name] = (one, searched)
    least = {kind: _least(rows, some) for kind, some in queries.items()}
    for one, search in engines.values():
        for kind, some in queries.items():
            found = [await search(query) for query in some]
            one.recall[kind] = _recall(rows, some, found, least[kind])
    await _time_in_turns(list(engines.values()), [*queries["names"], *queries["nouns"]])
    measured_all = [one for one, _ in engines.values()]
    if len(rows) <= HNSW_ROWS:
        say("usearch")
        measured_all.append(_usearch(folder, rows, queries, least))
    filters = await _filtered(index, rows, [*queries["names"][:N_TIMED], *queries["nouns"][:N_TIMED]])
    placed, said = index.placement, index.recall
    await index.close()
    bars = list(_bars(own, filters, ready_s))
    about = (
        f"{n_rows:,} rows of {rows.shape[1]} numbers: {len(pictures)} pictures of the sample gallery, then "
        f"mixes of near ones with noise. {placed.reason}; measured when it was trained: names "
        f"{said.names:.3f}, nouns {said.nouns:.3f}, images {said.images:.3f}. Ready from its files in "
        f"{ready_s:.1f} s of processor time."
    )
    tables = [_engines_table(measured_all), _filters_table(filters)]
    return "\n\n".join([about, *tables, verdicts_table(bars)]), bars


def asked() -> tuple[Rows, dict[str, Rows], dict[str, Rows]]:
    """Pictures (P, D), the texts that the index is tuned by, and the queries by kind: all (Q, D)."""
    name, version = DEFAULT_MODEL, int(default_bundle().name)
    model = load_evaluated_bundle(ModelRepository(MODEL_REPO), name, version, precision="int8", n_threads=1)
    gallery, _ = sample_gallery(model, REPOSITORY / "server" / "gallery")
    order = np.random.default_rng(0).permutation(len(gallery.rows))
    unseen, seen = order[:N_PICTURES], order[N_PICTURES:]

    def texts(some: Sequence[str]) -> Rows:
        return embed_texts(model.encoder, model.tokenizer, list(some))

    named = np.random.default_rng(1).permutation(sorted({*gallery.names[seen]})).tolist()
    words = {word for name in gallery.names for word in name.lower().split()}
    absent = [text for text in nouns() if not words.intersection(text.split())]
    absent = np.random.default_rng(2).permutation(absent).tolist()
    tuning = {"names": texts(named[N_NAMES:]), "nouns": texts(absent[N_NOUNS : N_NOUNS + N_TUNING_NOUNS])}
    queries = {
        "names": texts(named[:N_NAMES]),
        "nouns": texts(absent[:N_NOUNS]),
        "pictures": gallery.rows[unseen],
    }
    return gallery.rows[seen], tuning, queries


def mixed(pictures: Rows, n_rows: int) -> Rows:
    """The pictures, then mixes of two near ones with noise: (n_rows, D)."""
    cosines = pictures @ pictures.T
    near = np.argsort(-cosines, axis=1)[:, 1 : N_NEAR + 1]
    rows = np.empty((n_rows, pictures.shape[1]), np.float32)
    for start in range(0, n_rows, BATCH):
        random, n = np.random.default_rng(start), min(BATCH, n_rows - start)
        one = random.integers(len(pictures), size=n)
        other = near[one, random.integers(N_NEAR, size=n)]
        weight = random.random((n, 1), np.float32)
        noise = random.standard_normal((n, rows.shape[1]), dtype=np.float32)
        noise *= random.uniform(0.3, 0.5, (n, 1)) / np.linalg.norm(noise, axis=1, keepdims=True)
        some = weight * pictures[one] + (1 - weight) * pictures[other] + noise
        rows[start : start + n] = some / np.linalg.norm(some, axis=1, keepdims=True)
    rows[: len(pictures)] = pictures[:n_rows]
    return rows


async def _own_index(
    rows: Rows, tuning: Mapping[str, Rows], folder: Path
) -> tuple[Measured, FaissCpuIndex, float]:
    """The server's index, read from the files that it wrote, and the processor seconds that reading took."""
    files = IndexFiles(folder, Quota(), lambda n_bytes: None)
    lists, one = Approximation(training_thread(), files, min_rows=1_000), Measured("diptych")
    made = FaissCpuIndex(rows.shape[1], IndexThreads(2), lists=lists)
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        await made.apply((), range(start, start + len(some)), some)
    say("training and tuning the index")
    began = time.process_time()
    await made.train(NAME, tuning)
    one.build_s = time.process_time() - began
    say(f"{made.placement.reason}, {made.recall}, in {one.build_s:.0f} s")
    await made.save(NAME, 1)
    await made.close()
    index = FaissCpuIndex(rows.shape[1], IndexThreads(max(2, max(CLIENTS) // 8)), lists=lists)
    began = time.process_time()
    await index.restore(NAME, 1)
    ready_s = time.process_time() - began
    one.memory_gb = index.memory_bytes / 1e9
    return one, index, ready_s


def _rivals(rows: Rows, pictures: Rows) -> Iterator[tuple[Measured, Search]]:
    """Indexes of FAISS: exact, inverted lists tuned by pictures as usual, and a graph."""
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    yield Measured("FAISS flat", memory_gb=rows.nbytes / 1e9), _searcher(flat)
    least = _least(rows, pictures)
    began = time.process_time()
    n_lists = round(4 * len(rows) ** 0.5)
    lists: Any = faiss.index_factory(rows.shape[1], f"IVF{n_lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    lists.train(rows[np.sort(np.random.default_rng(0).permutation(len(rows))[: 40 * n_lists])])
    lists.add(rows)
    lists.nprobe = 1
    while lists.nprobe < n_lists:
        if _recall(rows, pictures, lists.search(pictures, K)[1], least) >= RECALL_BAR - 0.01:
            break
        lists.nprobe *= 2
    one = Measured(f"FAISS IVF, SQ8, nprobe {lists.nprobe} (0.98 by pictures)")
    one.build_s, one.memory_gb = time.process_time() - began, len(rows) * (rows.shape[1] + 8) / 1e9
    yield one, _searcher(lists)
    if len(rows) <= HNSW_ROWS:
        began = time.process_time()
        graph: Any = faiss.index_factory(rows.shape[1], "HNSW32,SQ8", faiss.METRIC_INNER_PRODUCT)
        graph.train(rows[:BATCH])
        graph.add(rows)
        graph.hnsw.efSearch = 256
        one = Measured("FAISS HNSW32, SQ8, ef 256", build_s=time.process_time() - began)
        one.memory_gb = len(rows) * (rows.shape[1] + 4 * 64) / 1e9
        yield one, _searcher(graph)


def _usearch(folder: Path, rows: Rows, queries: Mapping[str, Rows], least: Mapping[str, Rows]) -> Measured:
    """The graph of usearch, in an environment of its own."""
    rows_file, queries_file, asked_file, report = (
        folder / name for name in ("rows.npy", "queries.npy", "asked.json", "report.json")
    )
    np.save(rows_file, rows)
    np.save(queries_file, np.concatenate(list(queries.values())))
    asked_file.write_text(json.dumps({"k": K, "seconds": SECONDS, "clients": CLIENTS}), encoding="utf-8")
    command = [environment("usearch") / "python", USEARCH_RUN, rows_file, queries_file, asked_file, report]
    subprocess.run(command, check=True)
    said, start = json.loads(report.read_text(encoding="utf-8")), 0
    one = Measured("usearch HNSW, i8", build_s=said["build_s"], memory_gb=said["memory_gb"])
    for kind, some in queries.items():
        found = [np.array(keys) for keys in said["found"][start : start + len(some)]]
        one.recall[kind], start = _recall(rows, some, found, least[kind]), start + len(some)
    one.ms = said["ms"][: len(queries["names"]) + len(queries["nouns"])]
    one.per_s = {int(n): per_s for n, per_s in said["per_s"].items()}
    return one


def _searcher(index: Any) -> Search:
    threads = IndexThreads(2)

    def search(query: Rows) -> Rows:
        return index.search(query[np.newaxis], K)[1][0]

    async def searched(query: Rows) -> Rows:
        return await asyncio.get_running_loop().run_in_executor(threads, search, query)

    return searched


async def _keys(index: FaissCpuIndex, query: Rows, allowed: Rows = None, **options: bool) -> Rows:
    keys, _ = await index.search(query, K, allowed, **options)
    return keys


def _least(rows: Rows, queries: Rows, allowed: Rows = None) -> Rows:
    """The cosine of the last true hit of each query: (Q,)."""
    some = rows if allowed is None else rows[allowed]
    return faiss.knn(queries, some, min(K, len(some)), faiss.METRIC_INNER_PRODUCT)[0][:, -1]


def _recall(rows: Rows, queries: Rows, found: Sequence[Rows], least: Rows) -> float:
    """The share of true hits; equal cosines count."""
    shares = [
        np.count_nonzero(rows[keys[keys >= 0]] @ query >= bound - SAME) / K
        for query, keys, bound in zip(queries, found, least, strict=True)
    ]
    return float(np.mean(shares))


async def _time_in_turns(engines: Sequence[tuple[Measured, Search]], queries: Sequence[Rows]) -> None:
    for query in queries[:: max(1, len(queries) // (2 * N_TIMED))]:
        for one, search in engines:
            began = time.process_time()
            await search(query)
            one.ms.append(1000 * (time.process_time() - began))
    for n_clients in CLIENTS:
        for one, search in engines:
            one.per_s[n_clients] = await _rate(search, queries, n_clients)


async def _rate(search: Search, queries: Sequence[Rows], n_clients: int) -> float:
    """Searches a second by so many clients at once."""
    end, n_done = time.monotonic() + SECONDS, 0

    async def client(number: int) -> None:
        nonlocal n_done
        place = number * 7
        while time.monotonic() < end:
            await search(queries[place % len(queries)])
            place, n_done = place + 1, n_done + 1

    await asyncio.gather(*map(client, range(n_clients)))
    return n_done / SECONDS


async def _filtered(
    index: FaissCpuIndex, rows: Rows, queries: Sequence[Rows]
) -> dict[str, tuple[float, float]]:
    """Recall and median milliseconds of processor time, by filter."""
    random, found = np.random.default_rng(3), dict[str, tuple[float, float]]()
    side = rows @ random.standard_normal(rows.shape[1]).astype(np.float32)
    orders = {"random": random.permutation(len(rows)), "one-sided": np.argsort(side)}
    for share in SHARES:
        for kind, order in orders.items():
            allowed = np.sort(order[: max(K, int(share * len(rows)))])
            least, hits, ms = _least(rows, np.array(queries), allowed), list[Rows](), list[float]()
            for query in queries:
                began = time.process_time()
                hits.append(await _keys(index, query, allowed))
                ms.append(1000 * (time.process_time() - began))
            recall = _recall(rows, np.array(queries), hits, least)
            found[f"{share:.2%} {kind}"] = recall, percentile(sorted(ms), 0.5)
    return found


def _engines_table(engines: Sequence[Measured]) -> str:
    one, many = CLIENTS
    header = ["index", "recall@10 by names", "by nouns", "by pictures", "p50 ms", "p99 ms"]
    header += [f"searches/s, {one} and {many}", "memory GB", "made in s"]
    cells = []
    for found in engines:
        ms = sorted(found.ms)
        rates = " and ".join(f"{found.per_s[n]:,.0f}" for n in CLIENTS)
        times = [f"{percentile(ms, q):,.1f}" for q in (0.5, 0.99)]
        recalls = [f"{found.recall[kind]:.3f}" for kind in ("names", "nouns", "pictures")]
        cells.append([found.name, *recalls, *times, rates, f"{found.memory_gb:.2f}", f"{found.build_s:,.0f}"])
    return table(header, cells)


def _filters_table(filters: Mapping[str, tuple[float, float]]) -> str:
    cells = [[name, f"{recall:.3f}", f"{ms:,.1f}"] for name, (recall, ms) in filters.items()]
    return table(["share that passes", "recall@10 by words", "p50 ms"], cells)


def _bars(own: Measured, filters: Mapping[str, tuple[float, float]], ready_s: float) -> Iterator[Verdict]:
    for kind in ("names", "nouns"):
        share = own.recall[kind]
        yield Verdict(f"recall@10 by {kind}", f">= {RECALL_BAR}", f"{share:.3f}", share >= RECALL_BAR)
    worst = min(recall for recall, _ in filters.values())
    yield Verdict("recall@10 with a filter", f">= {FILTER_BAR}", f"{worst:.3f}", worst >= FILTER_BAR)
    ms = percentile(sorted(own.ms), 0.5)
    yield Verdict("processor time of a search, ms", f"<= {CPU_BAR_MS:g}", f"{ms:.1f}", ms <= CPU_BAR_MS)
    gb = own.memory_gb
    yield Verdict("memory of the index, GB", f"<= {MEMORY_BAR_GB:g}", f"{gb:.2f}", gb <= MEMORY_BAR_GB)
    yield Verdict("index read, s", f"<= {READY_BAR_S:g}", f"{ready_s:.1f}", ready_s <= READY_BAR_S)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")

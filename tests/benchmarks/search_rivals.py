"""An index of another library, in a process of its own: made from rows, read from its file, then searched.

    python search_rivals.py NAME FOLDER

FOLDER has `rows.npy` (N and more, D), `queries.npy` (Q, D), `ranks.npy` (2, N: the places of the rows in two
orders; a filter lets the first ones pass), and `how.json`. Each line of standard input is a request, each
line of standard output its answer, in JSON; the first line tells about making the index, with one thread.
Knows nothing of this repository: it is run by path.
"""

import asyncio
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

EF = 256  # candidates of a search in a graph
N_THREADS = 2  # that search
ADDED, PAUSE_S = 10, 0.1  # rows are added ten times a second


class Library:
    """What all indexes have. `how`: `k`, `n_rows`, and `n_lists` and `nprobe` of inverted lists."""

    gated = True  # additions run alone, as the libraries ask for

    def __init__(self, folder: Path, how: dict[str, Any]) -> None:
        self.how, self.k, self.file = how, how["k"], folder / "index"
        self.rows = np.load(folder / "rows.npy", mmap_mode="r")
        self.ranks = np.load(folder / "ranks.npy")
        self.about = ""

    @property
    def memory_bytes(self) -> int:
        """In the file, which is read as a whole."""
        return self.file.stat().st_size

    def cpu_s(self) -> float:
        """Processor seconds so far."""
        return time.process_time()

    def close(self) -> None:
        """Nothing of it stays."""


class Faiss(Library):
    """Exact, or inverted lists of 8-bit numbers without ranking by the rows themselves."""

    def __init__(self, folder: Path, how: dict[str, Any], kind: str = "Flat") -> None:
        super().__init__(folder, how)
        self.faiss, self.kind = import_module("faiss"), kind
        self.faiss.omp_set_num_threads(1)
        self.selectors: dict[Any, Any] = {}

    def make(self, rows: Any) -> None:
        self.index = self.faiss.index_factory(rows.shape[1], self.kind, self.faiss.METRIC_INNER_PRODUCT)
        if not self.index.is_trained:
            chosen = np.random.default_rng(0).permutation(len(rows))[: 40 * self.how["n_lists"]]
            self.index.train(rows[np.sort(chosen)])
        self.add(range(len(rows)), rows)

    def save(self) -> None:
        self.faiss.write_index(self.index, str(self.file))

    def load(self) -> None:
        self.index = self.faiss.read_index(str(self.file))

    def search(self, query: Any, allowed: Any) -> Any:
        self.faiss.omp_set_num_threads(1)  # of the calling thread
        return self.index.search(query[np.newaxis], self.k, params=self.params(allowed))[1][0]

    def params(self, allowed: Any) -> Any:
        return self.faiss.SearchParameters(sel=self.selector(allowed)) if allowed else None

    def selector(self, allowed: Any) -> Any:
        if allowed not in self.selectors:
            order, n_passing = allowed
            self.selectors[allowed] = self.faiss.IDSelectorBatch(
                np.flatnonzero(self.ranks[order] < n_passing)
            )
        return self.selectors[allowed]

    def add(self, keys: Any, rows: Any) -> None:
        self.index.add(rows)  # keys count up


class FaissLists(Faiss):
    def __init__(self, folder: Path, how: dict[str, Any]) -> None:
        super().__init__(folder, how, f"IVF{how['n_lists']},SQ8")

    def params(self, allowed: Any) -> Any:
        selector = self.selector(allowed) if allowed else None
        return self.faiss.SearchParametersIVF(sel=selector, nprobe=self.how["nprobe"])


class Hnswlib(Library):
    def make(self, rows: Any) -> None:
        self.index = self.empty()
        self.index.init_index(len(self.rows), M=16, ef_construction=200)
        self.add(range(len(rows)), rows)

    def empty(self) -> Any:
        return import_module("hnswlib").Index(space="ip", dim=self.rows.shape[1])

    def save(self) -> None:
        self.index.save_index(str(self.file))

    def load(self) -> None:
        self.index = self.empty()
        self.index.load_index(str(self.file), len(self.rows))
        self.index.set_ef(EF)

    def search(self, query: Any, allowed: Any) -> Any:
        order, n_passing = allowed or (0, 0)
        passes = (lambda key: self.ranks[order, key] < n_passing) if allowed else None
        try:
            return self.index.knn_query(query, self.k, num_threads=1, filter=passes)[0][0].astype(np.int64)
        except RuntimeError:  # it found fewer
            return np.empty(0, np.int64)

    def add(self, keys: Any, rows: Any) -> None:
        self.index.add_items(rows, np.array(keys), num_threads=1)


class Usearch(Library):
    def make(self, rows: Any) -> None:
        usearch = import_module("usearch.index")
        self.index = usearch.Index(ndim=rows.shape[1], metric="ip", dtype="i8", expansion_search=EF)
        self.add(range(len(rows)), rows)

    def save(self) -> None:
        self.index.save(str(self.file))

    def load(self) -> None:
        self.index.load(str(self.file))

    def search(self, query: Any, allowed: Any) -> Any:
        return None if allowed else self.index.search(query, self.k, threads=1).keys.astype(np.int64)

    def add(self, keys: Any, rows: Any) -> None:
        self.index.add(np.array(keys), rows, threads=1)


class Pgvector(Library):
    """In a PostgreSQL of its own, which is asked through a socket of the file system."""

    gated = False

    def __init__(self, folder: Path, how: dict[str, Any]) -> None:
        super().__init__(folder, how)
        self.data = Path(tempfile.mkdtemp(prefix="diptych-bench-postgres-"))
        self.user = "postgres" if os.getuid() == 0 else None  # PostgreSQL does not run as root
        if self.user:
            shutil.chown(self.data, self.user)
        self.all: list[Any] = []
        self.free: queue.LifoQueue[Any] = queue.LifoQueue()
        self.run("initdb", "-U", "bench", "--auth=trust")
        self.control("start")

    def run(self, program: str, *words: str) -> None:
        command = [Path(self.how["postgres"]) / program, "-D", self.data, *words]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        subprocess.run(command, check=True, user=self.user, cwd=self.data, **quiet)

    def control(self, verb: str) -> None:
        options = f"-k {self.data} -c listen_addresses= -c shared_buffers=1GB -c maintenance_work_mem=2GB"
        self.run("pg_ctl", "-w", "-l", f"{self.data}/log", "-o", options, "-m", "fast", verb)

    @contextlib.contextmanager
    def connection(self) -> Any:
        try:
            one = self.free.get_nowait()
        except queue.Empty:
            one = self.connect()
        yield one
        self.free.put(one)

    def connect(self) -> Any:
        psycopg = import_module("psycopg")
        one = psycopg.connect(host=str(self.data), user="bench", dbname="postgres", autocommit=True)
        one.execute("CREATE EXTENSION IF NOT EXISTS vector")
        import_module("pgvector.psycopg").register_vector(one)
        for name, value in (("ef_search", EF), ("iterative_scan", "relaxed_order")):
            one.execute(f"SET hnsw.{name} = {value}")
        self.all.append(one)
        return one

    def make(self, rows: Any) -> None:
        with self.connection() as one:
            one.execute("SET max_parallel_maintenance_workers = 0")
            one.execute(f"CREATE TABLE rows (key int, random int, side int, v vector({rows.shape[1]}))")
            with one.cursor().copy("COPY rows FROM STDIN WITH (FORMAT BINARY)") as copy:
                copy.set_types(["int4", "int4", "int4", "vector"])
                for key, (ranks, row) in enumerate(zip(self.ranks.T.tolist(), rows, strict=True)):
                    copy.write_row([key, *ranks, row])
            one.execute("CREATE INDEX ON rows USING hnsw (v vector_ip_ops)")
            for order in ("random", "side"):
                one.execute(f"CREATE INDEX ON rows ({order})")
            one.execute("VACUUM ANALYZE rows")
            versions = one.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
            plan = one.execute("EXPLAIN " + self.query(""), (rows[0],)).fetchall()
            how = f"HNSW, ef {EF}" if any("Index Scan" in line for (line,) in plan) else "comparing all rows"
            self.about = f"pgvector {versions[0]}, {how}"

    def save(self) -> None:
        """The database keeps what it commits."""

    def load(self) -> None:
        while self.all:
            self.all.pop().close()
        self.free = queue.LifoQueue()
        self.control("restart")

    def search(self, query: Any, allowed: Any) -> Any:
        where = f"WHERE {('random', 'side')[allowed[0]]} < {allowed[1]}" if allowed else ""
        with self.connection() as one:
            return np.array([key for (key,) in one.execute(self.query(where), (query,))], np.int64)

    def query(self, where: str) -> str:
        """PostgreSQL chooses whether it uses the graph."""
        return f"SELECT key FROM rows {where} ORDER BY v <#> %b LIMIT {self.k}"

    def add(self, keys: Any, rows: Any) -> None:
        with self.connection() as one, one.cursor() as cursor:
            some = [(key, row) for key, row in zip(keys, rows, strict=True)]
            cursor.executemany("INSERT INTO rows (key, v) VALUES (%s, %b)", some)

    @property
    def memory_bytes(self) -> int:
        """Of the table and its indexes, which PostgreSQL reads by pages."""
        with self.connection() as one:
            return int(one.execute("SELECT pg_total_relation_size('rows')").fetchone()[0])

    def cpu_s(self) -> float:
        """With PostgreSQL's processes of the connections."""
        files = [Path(f"/proc/{one.info.backend_pid}/stat") for one in self.all]
        ticks = sum(int(n) for file in files for n in file.read_text().rpartition(")")[2].split()[11:13])
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.control("stop")
        shutil.rmtree(self.data)


LIBRARIES = {
    "flat": Faiss, "lists": FaissLists, "hnswlib": Hnswlib, "usearch": Usearch, "pgvector": Pgvector
}  # fmt: skip


def made(index: Any) -> dict[str, Any]:
    """Make the index, write it, and read it."""
    began = index.cpu_s()
    index.make(index.rows[: index.how["n_rows"]])
    build_s = index.cpu_s() - began
    index.save()
    began = time.perf_counter()
    index.load()
    index.search(index.rows[0], None)
    ready_s = time.perf_counter() - began
    return {
        "build_s": build_s, "ready_s": ready_s, "memory_gb": index.memory_bytes / 1e9, "about": index.about
    }  # fmt: skip


def found(index: Any, queries: Any, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The keys that the queries find, and milliseconds of each; None if the library has no filters."""
    allowed = tuple(asked["filter"]) if asked["filter"] else None
    keys, ms = [], []
    for number in asked["queries"]:
        began = time.perf_counter()
        hits = index.search(queries[number], allowed)
        ms.append(1000 * (time.perf_counter() - began))
        if hits is None:
            return None
        keys.append(hits.tolist())
    return {"keys": keys, "ms": ms}


async def load(
    search: Callable[[int], Awaitable[Any]],
    add: Callable[[range], Awaitable[Any]],
    cpu_s: Callable[[], float],
    asked: dict[str, Any],
) -> dict[str, Any]:
    """Let so many `clients` search for so many `seconds`. `adds`: the first row to add meanwhile, or None."""
    numbers, end, n_added, ms = asked["queries"], time.perf_counter() + asked["seconds"], 0, list[float]()

    async def client(place: int) -> None:
        while (began := time.perf_counter()) < end:
            await search(numbers[place % len(numbers)])
            ms.append(1000 * (time.perf_counter() - began))
            place += 1

    async def adding() -> None:
        nonlocal n_added
        at = time.perf_counter()
        while asked["adds"] is not None and at < end:
            first = asked["adds"] + n_added
            await add(range(first, first + ADDED))
            n_added, at = n_added + ADDED, at + PAUSE_S
            await asyncio.sleep(max(0, at - time.perf_counter()))

    began_s = cpu_s()
    await asyncio.gather(adding(), *(client(7 * number) for number in range(asked["clients"])))
    taken_s = time.perf_counter() - end + asked["seconds"]
    return {"ms": ms, "cpu_ms": 1000 * (cpu_s() - began_s) / len(ms), "n_added": n_added, "s": taken_s}


async def loaded(index: Any, queries: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """A window of load, with N_THREADS threads that search, as the server has."""
    n_threads = N_THREADS if index.gated else asked["clients"]
    gate = threading.Semaphore(n_threads)

    def search(number: int) -> None:
        with gate:
            index.search(queries[number], None)

    def add(keys: range) -> None:
        n_gates = n_threads if index.gated else 0
        for _ in range(n_gates):
            gate.acquire()
        index.add(keys, index.rows[keys.start : keys.stop])
        for _ in range(n_gates):
            gate.release()

    with ThreadPoolExecutor(n_threads) as searching, ThreadPoolExecutor(1) as adding:
        run = asyncio.get_running_loop().run_in_executor
        return await load(partial(run, searching, search), partial(run, adding, add), index.cpu_s, asked)


def main(name: str, folder_name: str) -> None:
    folder = Path(folder_name)
    queries, how = np.load(folder / "queries.npy"), json.loads((folder / "how.json").read_text())
    index = LIBRARIES[name](folder, how)
    try:
        print(json.dumps(made(index)), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            answer = (
                asyncio.run(loaded(index, queries, asked))
                if "clients" in asked
                else found(index, queries, asked)
            )
            print(json.dumps(answer), flush=True)
    finally:
        index.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

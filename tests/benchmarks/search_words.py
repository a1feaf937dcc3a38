"""Searches by words and pictures: the server's index beside those of other libraries, in turns, without HTTP.

Rows are embeddings of the sample gallery, then mixes of two near ones with noise of norm 0.3 to 0.5. Queries
are names of the gallery's pictures, nouns that none of them shows, and pictures that are not among the rows;
other names and other nouns tune the index.
"""

import itertools
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import faiss
import numpy as np

from benchmarks.load import percentile
from benchmarks.relevance import sample_gallery
from benchmarks.report import Verdict, say, table, verdicts_table
from benchmarks.search_engines import BATCH, Engine, K, Own, Rival, approximation
from benchmarks.search_rivals import EF
from benchmarks.servers import REPOSITORY
from diptych.bundle.repository import ModelRepository
from diptych.core.collections.upkeep.index_texts import nouns
from diptych_training.evaluate.embedding import embed_texts
from diptych_training.evaluate.evaluated_model import load_evaluated_bundle
from support.default_model import DEFAULT_MODEL, MODEL_REPO, default_bundle

N_NAMES, N_NOUNS, N_PICTURES, N_FILTERED = 300, 400, 100, 40
N_TUNING_NOUNS = 200
EXACT_STEP = 10  # of the queries that measure the recall of what compares all rows
N_NEAR = 10  # pictures that one is mixed with
N_MORE = 10_000  # rows that are added while others search
GRAPH_ROWS = 100_000  # hnswlib and pgvector take many minutes for a million
CLIENTS, N_ROUNDS = (1, 16), 2
SHARES = (0.5, 0.1, 0.01, 0.0001)
ORDERS = ("random", "one-sided")
SAME = 1e-5  # cosines nearer than this are equal
POSTGRES = "/usr/lib/postgresql/{}/bin"
VECTOR = "postgresql/*/extension/vector.control"  # in /usr/share: PostgreSQL has the extension
RECALL_BAR, FILTER_BAR, CPU_BAR_MS, MEMORY_BAR_GB, READY_BAR_S = 0.99, 0.98, 10.0, 0.6, 10.0
MILLION, RATE_BAR, TIME_BAR = 1_000_000, 8.0, 1.1

Rows = Any
Load = tuple[int, bool]  # how many clients search, and whether rows are added meanwhile
LOADS = [(n, adds) for adds in (False, True) for n in CLIENTS]


@dataclass
class Measured:
    """What was found of one index."""

    name: str
    engine: Engine
    step: int = 1  # each so many queries measure its recall
    recall: dict[str, float] = field(default_factory=dict)  # by the kind of queries
    ms: dict[Load, list[float]] = field(default_factory=lambda: {load: [] for load in LOADS})
    cpu_ms: list[float] = field(default_factory=list)  # of a search by one client, mean of each window
    seconds: dict[Load, float] = field(default_factory=lambda: dict.fromkeys(LOADS, 0.0))
    n_added: int = 0
    filtered: dict[str, tuple[float, float]] = field(default_factory=dict)  # recall, median ms

    def p(self, load: Load, share: float) -> float:
        """A percentile in milliseconds."""
        return percentile(sorted(self.ms[load]), share)

    def per_s(self, load: Load) -> float:
        """Searches a second."""
        return len(self.ms[load]) / self.seconds[load]


def measured(n_rows: int, seconds: float) -> tuple[str, list[Verdict]]:
    """The tables and bars of a collection of so many rows. Each load takes so many seconds."""
    pictures, tuning, queries = asked()
    say(f"making {n_rows:,} rows")
    rows = mixed(pictures, n_rows + N_MORE)
    ranks, every_query = _ranks(rows[:n_rows]), np.concatenate(list(queries.values()))
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        say("diptych")
        own, exact = (
            stack.enter_context(closing(Own(lists, n_rows, rows, every_query, ranks)))
            for lists in (approximation(folder), None)
        )
        own.train(tuning)
        reason, said = own.index.placement.reason, own.index.recall
        how, libraries, left_out = _libraries(n_rows, reason)
        for file, array in (("rows", rows), ("queries", every_query), ("ranks", ranks)):
            np.save(folder / f"{file}.npy", array)
        (folder / "how.json").write_text(json.dumps(how), encoding="utf-8")
        engines = [Measured("diptych", own), Measured("diptych, exact", exact, EXACT_STEP)]
        for library, title in libraries.items():
            say(title)
            rival = stack.enter_context(closing(Rival(library, folder)))
            step = EXACT_STEP if library == "flat" else 1
            engines.append(Measured(rival.made["about"] or title, rival, step))
        say("recall")
        _measure_recall(engines, rows[:n_rows], queries)
        say("filters")
        _measure_filters(engines, rows[:n_rows], queries, ranks)
        say("load, in turns")
        _measure_load(engines, n_rows, N_NAMES + N_NOUNS, seconds / N_ROUNDS)
    way = f"{reason}; when it was trained: {said}" if reason else "all rows are compared"
    about = (
        f"{n_rows:,} rows of {rows.shape[1]} numbers: {len(pictures)} pictures of the sample gallery, then "
        f"mixes of near ones with noise. diptych: {way}. {left_out}"
    )
    bars = list(_bars(n_rows, *engines[:2]))
    tables = [_indexes_table(engines), _load_table(engines), _filters_table(engines)]
    return "\n\n".join([about.strip(), *tables, verdicts_table(bars)]), bars


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


def _ranks(rows: Rows) -> Rows:
    """The places of the rows in a random order, and along a random direction: (2, N)."""
    random = np.random.default_rng(3)
    side = rows @ random.standard_normal(rows.shape[1]).astype(np.float32)
    return np.argsort([random.permutation(len(rows)), np.argsort(side)]).astype(np.int32)


def _libraries(n_rows: int, reason: str) -> tuple[dict[str, Any], dict[str, str], str]:
    """What rivals are told, those that are measured with their titles, and a sentence about the others."""
    how: dict[str, Any] = {"k": K, "n_rows": n_rows}
    titles = {"flat": "FAISS flat"}
    if searched := re.match(r"([\d,]+) of ([\d,]+) lists", reason):
        how["nprobe"], how["n_lists"] = (int(text.replace(",", "")) for text in searched.groups())
        titles["lists"] = f"FAISS IVF, SQ8, nprobe {how['nprobe']}"
    titles["usearch"] = f"usearch HNSW, i8, ef {EF}"
    if n_rows > GRAPH_ROWS:
        return (
            how,
            titles,
            f"hnswlib and pgvector take too long to make such a graph: see {GRAPH_ROWS:,} rows.",
        )
    titles["hnswlib"] = f"hnswlib, ef {EF}"
    if not (versions := sorted(Path("/usr/share").glob(VECTOR))):
        return how, titles, "pgvector is left out: PostgreSQL with its extension is not installed."
    how["postgres"] = POSTGRES.format(versions[-1].parts[-3])
    return how, titles | {"pgvector": "pgvector"}, ""


def _measure_recall(engines: Sequence[Measured], rows: Rows, queries: Mapping[str, Rows]) -> None:
    start = 0
    for kind, some in queries.items():
        numbers, least = np.arange(start, start + len(some)), _least(rows, some)
        start += len(some)
        for one in engines:
            found = one.engine.ask(queries=numbers[:: one.step].tolist(), filter=None)
            one.recall[kind] = _recall(rows, some[:: one.step], found["keys"], least[:: one.step])


def _measure_filters(
    engines: Sequence[Measured], rows: Rows, queries: Mapping[str, Rows], ranks: Rows
) -> None:
    numbers = [*range(N_FILTERED), *range(len(queries["names"]), len(queries["names"]) + N_FILTERED)]
    some = np.concatenate([queries["names"][:N_FILTERED], queries["nouns"][:N_FILTERED]])
    for (order, kind), share in itertools.product(enumerate(ORDERS), SHARES):
        n_passing = max(K, int(share * len(rows)))
        least = _least(rows[ranks[order] < n_passing], some)
        for one in engines:
            if (found := one.engine.ask(queries=numbers, filter=(order, n_passing))) is None:
                continue
            recall = _recall(rows, some, found["keys"], least)
            one.filtered[f"{share:.2%} {kind}"] = recall, percentile(sorted(found["ms"]), 0.5)


def _measure_load(engines: Sequence[Measured], n_rows: int, n_words: int, seconds: float) -> None:
    """Windows of searches by words, the indexes in turns; first without additions."""
    for (n_clients, has_adds), _ in itertools.product(LOADS, range(N_ROUNDS)):
        for one in engines:
            adds = n_rows + one.n_added if has_adds else None
            request = {"queries": [*range(n_words)], "clients": n_clients, "seconds": seconds, "adds": adds}
            found = one.engine.ask(**request)
            one.ms[n_clients, has_adds] += found["ms"]
            one.seconds[n_clients, has_adds] += found["s"]
            one.n_added += found["n_added"]
            if (n_clients, has_adds) == LOADS[0]:
                one.cpu_ms.append(found["cpu_ms"])


def _least(rows: Rows, queries: Rows) -> Rows:
    """The cosine of the last true hit of each query: (Q,)."""
    return faiss.knn(queries, rows, min(K, len(rows)), faiss.METRIC_INNER_PRODUCT)[0][:, -1]


def _recall(rows: Rows, queries: Rows, found: Sequence[Sequence[int]], least: Rows) -> float:
    """The share of true hits; equal cosines count."""
    shares = [
        np.count_nonzero(rows[[key for key in keys if key >= 0]] @ query >= bound - SAME) / K
        for query, keys, bound in zip(queries, found, least, strict=True)
    ]
    return float(np.mean(shares))


def _indexes_table(engines: Sequence[Measured]) -> str:
    header = ["index", "recall@10 by names", "by nouns", "by pictures", "processor ms", "built in s"]
    cells = []
    for one in engines:
        made = one.engine.made
        recalls = [f"{one.recall[kind]:.3f}" for kind in ("names", "nouns", "pictures")]
        figures = [f"{mean(one.cpu_ms):.2f}", f"{made['build_s']:,.0f}", f"{made['memory_gb']:.2f}"]
        cells.append([one.name, *recalls, *figures, f"{made['ready_s']:.2f}"])
    return table([*header, "memory GB", "ready in s"], cells)


def _load_table(engines: Sequence[Measured]) -> str:
    """Each cell: the median and the 99th percentile in milliseconds, and searches a second."""
    names = [f"{n} client{'s' * (n > 1)}{', adds' * adds}" for n, adds in LOADS]
    cells = []
    for one in engines:
        loads = [
            f"{one.p(load, 0.5):,.1f}, {one.p(load, 0.99):,.1f}, {one.per_s(load):,.0f}" for load in LOADS
        ]
        adding_s = sum(one.seconds[load] for load in LOADS if load[1])
        cells.append([one.name, *loads, f"{one.n_added / adding_s:.0f}"])
    return table(["p50 ms, p99 ms, searches/s", *names, "added/s"], cells)


def _filters_table(engines: Sequence[Measured]) -> str:
    """Each cell: the recall by words, and the median in milliseconds. Not of libraries without filters."""
    some = [one for one in engines if one.filtered]
    cells = [
        [name, *("{:.3f}, {:,.1f}".format(*one.filtered[name]) for one in some)] for name in some[0].filtered
    ]
    return table(["share that passes: recall@10, p50 ms", *(one.name for one in some)], cells)


def _bars(n_rows: int, own: Measured, exact: Measured) -> Iterator[Verdict]:
    for kind in ("names", "nouns"):
        yield _at_least(f"recall@10 by {kind}", own.recall[kind], RECALL_BAR)
    worst = min(recall for recall, _ in own.filtered.values())
    yield _at_least("recall@10 with a filter, worst", worst, FILTER_BAR)
    yield _at_most("processor time of a search, ms", mean(own.cpu_ms), CPU_BAR_MS)
    yield _at_most("memory of the index, GB", own.engine.made["memory_gb"], MEMORY_BAR_GB)
    yield _at_most("index ready, s", own.engine.made["ready_s"], READY_BAR_S)
    if n_rows >= MILLION:
        load = max(CLIENTS), False
        ratio = own.per_s(load) / exact.per_s(load)
        yield _at_least(f"searches a second of {load[0]} clients, over exact ones", ratio, RATE_BAR)
    else:
        ratio = own.p(LOADS[0], 0.5) / exact.p(LOADS[0], 0.5)
        yield _at_most("p50 of one client, over exact searches", ratio, TIME_BAR)


def _at_least(what: str, found: float, bound: float) -> Verdict:
    return Verdict(what, f">= {bound:g}", f"{found:.3f}", found >= bound)


def _at_most(what: str, found: float, bound: float) -> Verdict:
    return Verdict(what, f"<= {bound:g}", f"{found:.2f}", found <= bound)

"""`make bench-text`: what the index of words costs, and how long words take to find.

    PYTHONPATH=tests python -m benchmarks.search_text [--quick] [--write FILE]

Rows have three texts of eight words from a vocabulary whose frequencies follow Zipf's law, and vectors of
the size of the default model. They are added over HTTP, to a server with and to one without words. Searches
go through the store of the server, without HTTP, in the temporary folder, which should be on a disk. The
status is 1 when a bar is missed.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.load import add_vectors, ask_once, post_json
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
from benchmarks.servers import cpu_seconds, diptych, running
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.bundle.manifest import read_manifest
from diptych.core.collections.metadata.words import parse_words
from diptych.core.types import NewRow, VersionRef
from support.default_model import DEFAULT_MODEL, MODEL_REPO, default_bundle

MARKS = "bench-text"
N_WORDS, WORDS_A_TEXT, TEXTS = 50_000, 8, ("caption", "alt", "notes")
NEEDLE = "needle"  # which one row has
BATCH, ADDED_AT_ONCE = 1_000, 64
WANTED = (1, 100, 10_000, 500_000)  # rows, of a million
MOST_RANKED = 10_000  # rows of a million that the bar is about
SEARCH_BAR_MS, ADD_BAR = 20.0, 1.10
EMBED_DIM = read_manifest(default_bundle()).embed_dim
# Starts `diptych` so that it indexes no words.
WITHOUT_WORDS = """
import sys
from diptych.adapters.sqlite.text_index import TextIndex
from diptych.cli import main
TextIndex.add = lambda *_: None
sys.exit(main())
"""
REF, IDENTITY = VersionRef("any", 1, "0" * 64), "any"


@dataclass
class Found:
    """A query of one word: the processor time and the time of each search."""

    n_rows: int
    cpu_ms: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)


@dataclass
class Added:
    """Adds with words, or without: the seconds of each, and the processor seconds of all."""

    name: str
    seconds: list[float] = field(default_factory=list)
    cpu_s: float = 0.0


class Rows:
    """New rows without end."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._numbers = count()
        shares = 1 / np.arange(1, N_WORDS + 1)
        self._shares = shares / shares.sum()
        self.n_with: Counter[int] = Counter()  # rows, by word

    def take(self, n: int) -> list[NewRow]:
        """The next rows."""
        words = self._rng.choice(N_WORDS, (n, WORDS_A_TEXT * len(TEXTS)), p=self._shares)
        vectors = self._rng.standard_normal((n, EMBED_DIM), np.float32)
        return [self._row(*pair) for pair in zip(words, vectors, strict=True)]

    def _row(self, words: Any, vector: Any) -> NewRow:
        number = next(self._numbers)
        self.n_with.update(set(words.tolist()))
        spelled = [f"w{word}" for word in words.tolist()]
        texts = [
            " ".join(spelled[start : start + WORDS_A_TEXT]) for start in range(0, len(spelled), WORDS_A_TEXT)
        ]
        metadata: dict[str, Any] = dict(zip(TEXTS, texts, strict=True))
        if number == 0:
            metadata["more"] = NEEDLE
        sha256 = f"{number:064x}"
        return NewRow(sha256[-32:], sha256, 1, "image/png", 1, 1, metadata, vector)


def main() -> int:
    args = parser(__doc__, quick="50,000 rows").parse_args()
    n_rows, n_rounds = (50_000, 20) if args.quick else (1_000_000, 100)
    others = OtherPrograms()
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder:
        added = adding(Path(folder, "added"), n_rounds)
        found, sizes = asyncio.run(searching(Path(folder, "searched"), n_rows))
    said = (
        f"{conditions(command_line('bench-text', 'TEXT'))} {others.said()} {n_rows:,} rows with three "
        f"texts of {WORDS_A_TEXT} words from a vocabulary of {N_WORDS:,} by Zipf's law, and vectors of "
        f"{EMBED_DIM} numbers; {ADDED_AT_ONCE} ready-made vectors an add over HTTP, with and without words "
        f"in turns, medians of {n_rounds}; medians of searches, which return all rows that match, best first."
    )
    scale = n_rows / 1_000_000
    verdicts = [
        Verdict(
            f"a word of {one.n_rows:,} rows, processor ms",
            f"< {SEARCH_BAR_MS:.0f}",
            f"{median(one.cpu_ms):.1f}",
            median(one.cpu_ms) < SEARCH_BAR_MS,
        )
        for one in found
        if one.n_rows <= 1.1 * MOST_RANKED * scale
    ]
    with_words, without = added
    ratio = median(with_words.seconds) / median(without.seconds)
    verdicts.append(
        Verdict("adds with words over adds without", f"<= {ADD_BAR}", f"{ratio:.2f}", ratio <= ADD_BAR)
    )
    report = [said, _searched_table(found), _cost_table(added, sizes, n_rows), verdicts_table(verdicts)]
    finish("\n\n".join(report), args.write, MARKS)
    return 0 if all(one.met for one in verdicts) else 1


def adding(data_dir: Path, n_rounds: int) -> list[Added]:
    """Adds of ready-made vectors over HTTP to two servers in turns, one with words and one without."""
    say("adding with and without words")
    rows, found = Rows(), [Added("with words"), Added("without words")]
    program = diptych(MODEL_REPO, DEFAULT_MODEL, data_dir / "with", name="words")
    without = diptych(MODEL_REPO, DEFAULT_MODEL, data_dir / "without", name="no-words")
    without = replace(without, command=(sys.executable, "-c", WITHOUT_WORDS, *without.command[3:]))
    with running(program) as one, running(without) as other:
        turns = list(zip(found, (one, other), strict=True))
        for _, server in turns:
            ask_once(server, post_json("/collections", {"name": "rows"}))
        for _ in range(n_rounds):
            message = _message(rows.take(ADDED_AT_ONCE))
            turns.reverse()  # what comes first waits for the disk longer
            for added, server in turns:
                cpu, began = cpu_seconds(server.pid), time.perf_counter()
                ask_once(server, message)
                added.seconds.append(time.perf_counter() - began)
                added.cpu_s += cpu_seconds(server.pid) - cpu
    return found


def _message(rows: Sequence[NewRow]) -> bytes:
    vectors = np.stack([row.embedding for row in rows])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    origin = (DEFAULT_MODEL, int(default_bundle().name))
    return add_vectors(
        "rows", origin, [row.id for row in rows], vectors, [row.metadata or {} for row in rows]
    )


async def searching(data_dir: Path, n_rows: int) -> tuple[list[Found], dict[str, float]]:
    """Searches for words of the wanted frequencies in a collection of so many rows, and its sizes in MB."""
    rows, store = Rows(), SqliteStore(_made(data_dir))
    c = await _collection(store)
    for start in range(0, n_rows, BATCH):
        if start % 100_000 == 0:
            say(f"{start:,} rows")
        await store.writer.put(c, rows.take(BATCH), identity=IDENTITY, replace=False)
    await store.words.matching(c, parse_words(NEEDLE))  # which counts the rows
    found = []
    for n_wanted in WANTED:
        nearest = min(rows.n_with.items(), key=lambda one: abs(one[1] - n_wanted * n_rows / 1_000_000))
        found.append(await _asked(store, c, NEEDLE if n_wanted == 1 else f"w{nearest[0]}"))
    sizes = await store.threads.read(_sizes)
    await store.close()
    began = time.process_time()
    SqliteStore(data_dir).close_now()
    say(f"checked in {time.process_time() - began:.1f} processor seconds")
    return found, sizes | {"whole": (data_dir / DATABASE).stat().st_size / 1e6}


async def _asked(store: SqliteStore, c: int, word: str) -> Found:
    found, query = Found(0), parse_words(word)
    for _ in range(20):
        cpu, began = time.process_time(), time.perf_counter()
        matches = await store.words.matching(c, query)
        found.cpu_ms.append(1000 * (time.process_time() - cpu))
        found.ms.append(1000 * (time.perf_counter() - began))
        found.n_rows = len(matches.keys)
    return found


def _sizes(db: Any) -> dict[str, float]:
    query = "SELECT coalesce(sum(pgsize), 0) / 1e6 FROM dbstat WHERE name LIKE ?"
    return {"words": db.execute(query, ("words%",)).fetchone()[0]}


async def _collection(store: SqliteStore) -> int:
    return (await store.catalogue.create("rows", "none", IDENTITY, REF)).number


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _searched_table(found: Sequence[Found]) -> str:
    rows = [
        [f"{one.n_rows:,}", f"{median(one.cpu_ms):,.1f}", f"{median(one.ms):,.1f}", f"{max(one.ms):,.1f}"]
        for one in found
    ]
    return table(["rows that have the word", "processor ms", "p50 ms", "slowest ms"], rows)


def _cost_table(added: Sequence[Added], sizes: dict[str, float], n_rows: int) -> str:
    rows = list[list[str]]()
    for one in added:
        rows.append([f"rows/s, added {one.name}", f"{ADDED_AT_ONCE / median(one.seconds):,.0f}"])
        cpu_us = 1e6 * one.cpu_s / ADDED_AT_ONCE / len(one.seconds)
        rows.append([f"processor time of a row, added {one.name}, microseconds", f"{cpu_us:,.0f}"])
    rows += [
        ["words of all rows on the disk, MB", f"{sizes['words']:,.0f}"],
        ["the whole database, MB", f"{sizes['whole']:,.0f}"],
        ["words of a row, bytes", f"{sizes['words'] * 1e6 / n_rows:,.0f}"],
    ]
    return table(["cost", "found"], rows)


if __name__ == "__main__":
    run(main)

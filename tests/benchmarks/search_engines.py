"""The server's index and those of other libraries, asked in the same way: see `search_rivals`."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol

from benchmarks.environments import environment
from benchmarks.search_rivals import N_THREADS, load
from diptych.adapters.faiss.cpu_index import Approximation, FaissCpuIndex
from diptych.adapters.faiss.threads import IndexThreads, training_thread
from diptych.adapters.files.index_files import IndexFiles
from diptych.adapters.files.quota import Quota

RIVALS_RUN = Path(__file__).with_name("search_rivals.py")
OWN_PYTHON = {"flat", "lists"}  # FAISS is the server's own
K, NAME, BATCH = 10, "1_bench", 10_000

Rows = Any
Answer = Any  # what was read from JSON


class Engine(Protocol):
    """One index. `made` tells about making it."""

    made: Answer

    def ask(self, **request: Any) -> Answer:
        """Answer a request as `search_rivals` does."""
        ...

    def close(self) -> None:
        """End it. No other call may follow."""
        ...


class Rival:
    """An index of another library, in a process of its own."""

    def __init__(self, library: str, folder: Path) -> None:
        python = sys.executable if library in OWN_PYTHON else environment("search") / "python"
        command = [python, RIVALS_RUN, library, folder]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.made = self._answer()

    def ask(self, **request: Any) -> Answer:
        """Answer a request."""
        assert self._process.stdin is not None, "a pipe"
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End its process."""
        self._process.communicate()

    def _answer(self) -> Answer:
        assert self._process.stdout is not None, "a pipe"
        return json.loads(self._process.stdout.readline() or sys.exit("an index of another library failed"))


class Own:
    """The server's index, read from the files that it wrote; or one that compares all rows."""

    def __init__(
        self, lists: Approximation | None, n_rows: int, rows: Rows, queries: Rows, ranks: Rows
    ) -> None:
        self._lists, self._rows, self._queries, self._ranks = lists, rows, queries, ranks
        self._loop = asyncio.Runner()
        self.index = FaissCpuIndex(rows.shape[1], IndexThreads(N_THREADS), lists=lists)
        began, cpu_s = time.perf_counter(), time.process_time()
        self._loop.run(self._fill(n_rows))
        self.made = {"ready_s": time.perf_counter() - began, "build_s": time.process_time() - cpu_s}
        self.made["memory_gb"] = self.index.memory_bytes / 1e9

    def train(self, tuning: Mapping[str, Rows]) -> None:
        """Train the index where the server does, and read it from its files."""
        if self.index.needs_training:
            self.made = self._loop.run(self._trained(tuning))

    def ask(self, **request: Any) -> Answer:
        """Answer a request."""
        return self._loop.run((self._load if "clients" in request else self._find)(**request))

    def close(self) -> None:
        """Free its memory."""
        self._loop.run(self.index.close())
        self._loop.close()

    async def _fill(self, n_rows: int) -> None:
        for start in range(0, n_rows, BATCH):
            keys = range(start, min(start + BATCH, n_rows))
            await self.index.apply((), keys, self._rows[start : keys.stop])

    async def _trained(self, tuning: Mapping[str, Rows]) -> Answer:
        cpu_s = time.process_time()
        await self.index.train(NAME, tuning)
        cpu_s = time.process_time() - cpu_s
        await self.index.save(NAME, 1)
        await self.index.close()
        self.index = FaissCpuIndex(self._rows.shape[1], IndexThreads(N_THREADS), lists=self._lists)
        began = time.perf_counter()
        await self.index.restore(NAME, 1)
        ready_s = time.perf_counter() - began
        return {"build_s": cpu_s, "ready_s": ready_s, "memory_gb": self.index.memory_bytes / 1e9}

    async def _find(self, queries: list[int], filter: tuple[int, int] | None) -> Answer:
        allowed = None if filter is None else (self._ranks[filter[0]] < filter[1]).nonzero()[0]
        found, ms = [], list[float]()
        for number in queries:
            began = time.perf_counter()
            keys, _ = await self.index.search(self._queries[number], K, allowed)
            ms.append(1000 * (time.perf_counter() - began))
            found.append(keys)
        return {"keys": found, "ms": ms}

    async def _load(self, **request: Any) -> Answer:
        def search(number: int) -> Coroutine[Any, Any, Any]:
            return self.index.search(self._queries[number], K, None)

        def add(keys: range) -> Coroutine[Any, Any, None]:
            return self.index.apply((), keys, self._rows[keys.start : keys.stop])

        return await load(search, add, time.process_time, request)


def approximation(folder: Path) -> Approximation:
    """How the server searches large collections, with files in this folder."""
    return Approximation(training_thread(), IndexFiles(folder, Quota(), lambda n_bytes: None))

"""Nearest neighbours on the CPU: exact in small collections, by trained lists in large ones."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from diptych.adapters.faiss.float_rows import CHUNK_ROWS, FloatRows
from diptych.adapters.faiss.ivf_file import copied_lists, read_lists, write_lists
from diptych.adapters.faiss.ivf_rows import MAX_COMPARED, IvfRows
from diptych.adapters.faiss.ivf_training import new_lists, trained_lists, tune
from diptych.adapters.faiss.rows import BLOCK_BYTES, FlatRows, SearchedRows
from diptych.adapters.faiss.threads import IndexThreads
from diptych.adapters.files.index_files import IndexFiles
from diptych.core.concurrency.gated_executor import GatedExecutor
from diptych.core.serving.ports import Restored
from diptych.core.types import (
    EXACT,
    Embedding,
    Embeddings,
    IndexPlacement,
    IndexRecall,
    Keys,
)
from diptych.errors import Conflict, NotReady, StoreError

LOG = logging.getLogger("diptych.index")
MIN_ROWS = 100_000
KEPT_SHARE = 0.8  # of MIN_ROWS, below which all rows are compared again: few changes do not train it anew
FILL_ROWS = 8_192  # that are assigned to lists at a time
SAVED_SHARE = 1 / 20  # of the rows that may change before the file is written again
LOG_EVERY_S = 15.0
TITLE = "an index"  # in the log, of one of no collection
N_CHANGES_ALONE = 4  # that were made while it trained, and that searches may wait for

Result = TypeVar("Result")
Made = TypeVar("Made", bound=SearchedRows)
Change = tuple[Sequence[int], Sequence[int], Embeddings]  # removed keys, added keys with their rows


@dataclass(frozen=True)
class Approximation:
    """How large collections are searched. Without `files` all rows stay in memory; nothing is trained if they
    are read-only.
    """

    thread: IndexThreads  # that trains
    files: IndexFiles | None = None
    min_rows: int = MIN_ROWS
    max_compared: int = MAX_COMPARED
    chunk_rows: int = CHUNK_ROWS


class FaissCpuIndex:
    """Satisfies `diptych.core.serving.ports.VectorIndex`.

    Searches run side by side in `threads`, changes alone: FAISS crashes if an index is changed while it is
    searched. Without `lists`, and with few rows, all rows are compared.
    """

    def __init__(
        self,
        embed_dim: int,
        threads: IndexThreads,
        block_bytes: int = BLOCK_BYTES,
        reason: str = "",
        lists: Approximation | None = None,
    ) -> None:
        """`reason` says why the CPU searches, and not a GPU."""
        self._embed_dim, self._block_bytes, self._lists = embed_dim, block_bytes, lists
        self._reason, self._trouble = reason, ""  # `_trouble`: why rows are not in a file
        self._rows: SearchedRows = FlatRows(embed_dim, block_bytes)
        self._calls = GatedExecutor(threads, threads.n_threads)
        self._name = ""  # of its files
        self._n_changed = self._n_saved = 0  # rows that ever changed, and how many of these the files have
        self._title = TITLE  # in the log
        self._began = self._said_at = 0.0  # training; when it last said how far it is
        self._changes: deque[Change] | None = None  # since training began
        self._closing = False
        self._training: Future[None] | None = None

    @property
    def recall(self) -> IndexRecall:
        """As measured after the last training; all of them as long as all rows are compared."""
        rows = self._rows
        return rows.trained.recall if isinstance(rows, IvfRows) else EXACT

    @property
    def placement(self) -> IndexPlacement:
        """The processor; the reason says how rows are searched."""
        rows = self._rows
        if not isinstance(rows, IvfRows):
            return IndexPlacement("cpu", self._reason)
        return IndexPlacement(
            "cpu", "; ".join(filter(None, (_searched(rows), self._trouble, self._reason))), "ivf"
        )

    @property
    def memory_bytes(self) -> int:
        """The bytes of the vectors in memory, without what is mapped from a file."""
        return self._rows.memory_bytes

    @property
    def needs_training(self) -> bool:
        """Whether there are so many more, fewer or other rows that another index is better."""
        rows, lists = self._rows, self._lists
        if lists is None or self._closing or (lists.files is not None and lists.files.read_only):
            return False
        return rows.is_worn if isinstance(rows, IvfRows) else rows.n_rows >= lists.min_rows

    @property
    def needs_saving(self) -> bool:
        """Whether a start would have much to add to the files."""
        rows = self._rows
        if not isinstance(rows, IvfRows) or rows.floats.file is None or self._closing:
            return False
        return self._n_changed - self._n_saved > SAVED_SHARE * rows.n_rows

    async def apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Remove the keys `removed` and add `rows` (N, D) under `keys`; no search sees half of the change."""
        await asyncio.wrap_future(self._calls.submit(self._change, removed, keys, rows))

    async def search(
        self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False
    ) -> tuple[Keys, Embedding]:
        """At most k (keys, cosines), best first, equal cosines by ascending key; among `allowed` if given.

        The first m hits are the same for every k >= m, so that pages of one search never overlap.
        """
        return await asyncio.wrap_future(self._calls.submit_shared(self._nearest, query, k, allowed, exact))

    async def train(self, name: str, texts: Mapping[str, Embeddings], title: str = TITLE) -> None:
        """Make the index anew from its rows, tune it by queries (N, D), and use it from then on.

        Searches and changes go on meanwhile. `name`: of its files; `title`: what the log calls it. Raises
        NotReady once it is closed.
        """
        if self._lists is not None:
            self._name, self._title = name, title
            self._training = self._lists.thread.submit(self._train, self._lists, texts)
            await asyncio.wrap_future(self._training)

    async def save(self, name: str, change: int) -> None:
        """Write the index, which has all changes up to the number `change`. Raises StoreError."""
        if self._lists is not None and self._lists.files is not None:
            work = partial(self._save, self._lists.files, name, change)
            self._training = self._lists.thread.submit(work)
            await asyncio.wrap_future(self._training)

    async def restore(self, name: str, last_change: int, title: str = TITLE) -> Restored:
        """Read the files of this name into the empty index, if they can be used with a store that has changes
        up to `last_change`. The log calls it by its `title`.
        """
        self._title = title
        return await asyncio.wrap_future(self._calls.submit(self._restore, name, last_change))

    async def close(self, *, forget: bool = False) -> None:
        """Wait for earlier calls, then free the memory. The threads keep serving other indexes.

        Training ends early. With `forget` its files are removed.
        """
        self._closing = True
        if self._training is not None:
            await asyncio.gather(asyncio.wrap_future(self._training), return_exceptions=True)
        await asyncio.wrap_future(self._calls.submit(self._close, forget))

    def _change(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        self._n_changed += len(removed) + len(keys)
        self._rows.change(removed, keys, rows)
        if self._changes is not None:
            self._changes.append((removed, keys, rows))

    def _nearest(self, query: Embedding, k: int, allowed: Keys | None, exact: bool) -> tuple[Keys, Embedding]:
        return self._rows.nearest(query, k, allowed, exact=exact)

    def _train(self, lists: Approximation, texts: Mapping[str, Embeddings]) -> None:
        self._began = self._said_at = time.monotonic()
        self._require_open()
        self._changes = deque()
        try:
            keys = np.sort(self._shared(lambda: self._rows.keys))
            if len(keys) < KEPT_SHARE * lists.min_rows:
                self._use_filled(FlatRows(self._embed_dim, self._block_bytes), keys, lambda made: None)
                self._trouble = ""
                if lists.files is not None:
                    lists.files.remove(self._name)
            else:
                LOG.info("%s: training begins on %s rows", self._title, f"{len(keys):,}")
                step = partial(self._step, "lists are trained")
                index = trained_lists(keys, self._parts, self._embed_dim, step)
                made = new_lists(index, self._floats(lists, len(keys)), len(keys), lists.max_compared)
                step = partial(self._step, "recall is measured")
                self._use_filled(made, keys, lambda made: tune(made, texts, step))
        finally:
            self._changes = None
        taken_s = time.monotonic() - self._began
        LOG.info("%s: %s; made in %.0f s", self._title, _found(self._rows), taken_s)

    def _step(self, now: str) -> None:
        """Raise NotReady if the index is closed. Otherwise log the progress every LOG_EVERY_S seconds."""
        self._require_open()
        if time.monotonic() - self._said_at > LOG_EVERY_S:
            self._said_at = time.monotonic()
            LOG.info("%s: %s, for %.0f s in all so far", self._title, now, self._said_at - self._began)

    def _use_filled(self, made: Made, keys: Keys, tune: Callable[[Made], object]) -> None:
        """Fill new rows with those of `keys`, tune them, and search them from then on."""
        try:
            self._fill(made, keys)
            tune(made)
            changes = self._changes or deque()
            for _ in range(len(changes) - N_CHANGES_ALONE):
                _repeat(made, changes.popleft())
            self._calls.submit(self._use, made).result()
        except BaseException:
            made.clear(forget=True)
            raise

    def _floats(self, lists: Approximation, n_rows: int) -> FloatRows:
        """Rows in a new file if there is room for it and for the lists."""
        file, self._trouble, n_bytes = None, "", n_rows * (5 * self._embed_dim + 8)
        if lists.files is not None:
            try:
                file = lists.files.new_rows(self._name, n_bytes)
            except (StoreError, Conflict) as error:
                self._trouble = error.message
                LOG.warning("%s: its rows stay in memory: %s", self._title, error)
            else:
                LOG.info("%s: its files take %.2f GB", self._title, n_bytes / 1e9)
        floats = FloatRows(self._embed_dim, file, lists.chunk_rows)
        floats.on_failure = self._leave_file
        return floats

    def _leave_file(self, error: StoreError) -> None:
        """Go on without the file of rows, which could not be written and is removed."""
        self._trouble = error.message
        LOG.warning("%s: its new rows stay in memory until it is made again: %s", self._title, error)
        if self._lists is not None and self._lists.files is not None:
            with suppress(StoreError):
                self._lists.files.forget(self._name)

    def _fill(self, made: SearchedRows, wanted: Keys) -> None:
        """Add those of the keys `wanted`, ascending, that are still there. Later ones are in `_changes`."""
        for part_keys, part in self._parts() if len(wanted) else ():
            places = np.minimum(np.searchsorted(wanted, part_keys), len(wanted) - 1)
            chosen = np.flatnonzero(wanted[places] == part_keys)
            keys, rows = part_keys[chosen], part[chosen]
            for start in range(0, len(keys), FILL_ROWS):
                self._step(f"{made.n_rows:,} of {len(wanted):,} rows are in it")
                made.change((), keys[start : start + FILL_ROWS], rows[start : start + FILL_ROWS])

    def _use(self, made: SearchedRows) -> None:
        """Bring the new rows up to date, and search them from now on. Runs alone."""
        former = self._rows
        for change in self._changes or ():
            _repeat(made, change)
        self._rows, self._changes = made, None
        self._n_changed += made.n_rows  # the files have none of them
        former.clear()

    def _parts(self) -> Iterator[tuple[Keys, Embeddings]]:
        """All keys and rows, part by part; changes run in between."""
        parts = self._rows.parts()
        while (part := self._shared(lambda: next(parts, None))) is not None:
            yield part

    def _shared(self, read: Callable[[], Result]) -> Result:
        """Read the rows while nothing changes them."""
        return self._calls.submit_shared(read).result()

    def _require_open(self) -> None:
        if self._closing:
            raise NotReady("the index is closed")

    def _save(self, files: IndexFiles, name: str, change: int) -> None:
        rows = self._rows
        if not isinstance(rows, IvfRows) or rows.floats.file is None or self._closing:
            return
        file, n_changed = rows.floats.file, self._n_changed
        lists = self._shared(partial(copied_lists, rows, change))  # changes do not wait for the disk
        files.write(files.index(name), partial(write_lists, lists), file.sync)
        self._n_saved = n_changed
        files.remove(name, but={files.index(name).name, file.path.name})

    def _restore(self, name: str, last_change: int) -> Restored:
        lists = self._lists
        if lists is None or lists.files is None:
            return Restored()
        read = self._read(lists.files, name, last_change)
        self._remove_others(lists.files, name, None if read is None else read[0])
        if read is None:
            return Restored()
        rows, change = read
        LOG.info("%s: its files are used; %s", self._title, _found(rows))
        rows.max_compared = lists.max_compared
        rows.floats.on_failure = self._leave_file
        rows.floats.leave_read_only_file()
        self._rows, self._name = rows, name
        return Restored(change, rows.keys)

    def _read(self, files: IndexFiles, name: str, last_change: int) -> tuple[IvfRows, int] | None:
        if not os.path.exists(files.index(name)):  # noqa: PTH110 - False, too, in a folder without access
            return None
        try:
            assert self._lists is not None, "it has the files"
            return read_lists(files, name, self._embed_dim, last_change, self._lists.chunk_rows)
        except (ValueError, KeyError, RuntimeError, StoreError) as error:
            then = "all images are compared" if files.read_only else "it is made again"
            LOG.warning("%s: its file cannot be used, %s: %s", self._title, then, error)
            return None

    def _remove_others(self, files: IndexFiles, name: str, rows: IvfRows | None) -> None:
        """Remove the files of this name that are not those of `rows`: a kill while it trained leaves some."""
        used = set[str]()
        if rows is not None:
            assert rows.floats.file is not None, "opened with it"
            used = {files.index(name).name, rows.floats.file.path.name}
        try:
            files.remove(name, but=used)
        except StoreError as error:
            LOG.warning("%s: files that nothing uses cannot be removed: %s", self._title, error)

    def _close(self, forget: bool) -> None:
        self._rows.clear(forget=forget)
        if forget and self._name and self._lists is not None and self._lists.files is not None:
            self._lists.files.forget(self._name)


def _searched(rows: IvfRows) -> str:
    return f"{rows.trained.nprobe:,} of {rows.index.nlist:,} lists are searched"


def _found(rows: SearchedRows) -> str:
    """How the rows are searched, and what that finds, for the log."""
    return (
        f"{_searched(rows)}; {rows.trained.recall}" if isinstance(rows, IvfRows) else "all rows are compared"
    )


def _repeat(made: SearchedRows, change: Change) -> None:
    """Make a change in rows that may have it already, or a part of it."""
    removed, keys, rows = change
    made.change([*removed, *keys], keys, rows)

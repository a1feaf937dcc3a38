"""Adds that wait for the disk at the same time are stored together; knows nothing of what it is, or how."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from diptych.core.shelf import Shelf
from diptych.core.types import NewRow, PutResult
from diptych.core.writes import Writes

MAX_ROWS = 1_024  # of one group: the others wait no longer than for a large add
MAX_BYTES = 64_000_000

# (shelf, N rows, sha256 -> bytes, replace) -> N results; all or nothing of it.
Store = Callable[[Shelf, Sequence[NewRow], dict[str, bytes], bool], Awaitable[list[PutResult]]]


@dataclass(eq=False)
class _Add:
    shelf: Shelf
    rows: Sequence[NewRow]
    payloads: dict[str, bytes]
    replace: bool
    results: list[PutResult] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False

    @property
    def n_bytes(self) -> int:
        return sum(map(len, self.payloads.values()))


class GroupedStores:
    """Files of several callers are fsynced side by side, and one commit makes the rows of all durable.

    Nobody waits for company: a group is what has come while the write before it was running.
    """

    def __init__(self, store: Store, writes: Writes) -> None:
        self._store = store
        self._writes = writes
        self._waiting: list[_Add] = []

    async def store(
        self, shelf: Shelf, rows: Sequence[NewRow], payloads: dict[str, bytes], *, replace: bool
    ) -> list[PutResult]:
        """N rows -> N results, as `Store`; goes on to its end if the caller is cancelled. Raises NotReady."""
        if not rows:
            return []
        self._writes.require_open()
        add = _Add(shelf, rows, payloads, replace)
        self._waiting.append(add)
        return await self._writes.run(self._turn(add))

    async def _turn(self, add: _Add) -> list[PutResult]:
        if not add.done:  # otherwise an earlier turn has taken it along
            await self._store_group(self._group_of(add))
        if add.error is not None:
            raise add.error
        return add.results

    def _group_of(self, add: _Add) -> list[_Add]:
        """Those that can share a transaction with it, in the order of their coming; itself is one of them."""
        group, n_rows, n_bytes = [add], len(add.rows), add.n_bytes
        for other in self._waiting:
            if other is add or (other.shelf, other.replace) != (add.shelf, add.replace):
                continue
            n_rows, n_bytes = n_rows + len(other.rows), n_bytes + other.n_bytes
            if n_rows > MAX_ROWS or n_bytes > MAX_BYTES:
                break
            group.append(other)
        self._waiting = [other for other in self._waiting if other not in group]
        return group

    async def _store_group(self, group: Sequence[_Add]) -> None:
        payloads = {sha256: payload for add in group for sha256, payload in add.payloads.items()}
        rows = [row for add in group for row in add.rows]
        try:
            results = iter(await self._store(group[0].shelf, rows, payloads, group[0].replace))
        except Exception as error:
            await self._after_failure(group, error)
            return
        for add in group:
            add.results = [next(results) for _ in add.rows]
            add.done = True

    async def _after_failure(self, group: Sequence[_Add], error: Exception) -> None:
        """What failed together is tried one by one: there may be room for some of it."""
        if len(group) == 1:
            group[0].error, group[0].done = error, True
            return
        for add in group:
            await self._store_group([add])

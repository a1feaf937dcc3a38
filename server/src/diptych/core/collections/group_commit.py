"""Store adds that wait for the disk at the same time in one commit."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed

from diptych.core.collections.stored.collection import Collection
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.job import JobNote
from diptych.core.types import NewRow, PutResult

MAX_ROWS = 1_024  # in one group, so that others wait no longer than for one large add

# (collection, N rows, replace, notes) -> N results; all or nothing.
Store = Callable[[Collection, Sequence[NewRow], bool, Sequence[JobNote]], Awaitable[list[PutResult]]]


@dataclass(eq=False)
class _Add:
    collection: Collection
    rows: Sequence[NewRow]
    replace: bool
    notes: Sequence[JobNote]
    results: list[PutResult] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False


class GroupCommit:
    """Makes the rows of several callers durable in one commit.

    Nobody waits for company: a group is what has arrived while the previous write was running.
    """

    def __init__(self, store: Store, write_queue: SerialWriteQueue) -> None:
        self._store = store
        self._write_queue = write_queue
        self._waiting: list[_Add] = []

    async def store(
        self,
        collection: Collection,
        rows: Sequence[NewRow],
        *,
        replace: bool,
        notes: Sequence[JobNote] = (),
    ) -> list[PutResult]:
        """Store N rows and return N results, as `Store`; runs to its end if the caller is cancelled. Raises
        NotReady.

        The notes are stored even if there are no rows.
        """
        if not rows and not notes:
            return []
        self._write_queue.require_open()
        add = _Add(collection, rows, replace, notes)
        self._waiting.append(add)
        return await self._write_queue.run(self._turn(add))

    async def _turn(self, add: _Add) -> list[PutResult]:
        if not add.done:  # otherwise an earlier turn has stored it
            await self._store_group(self._group_of(add))
        if add.error is not None:
            raise add.error
        return add.results

    def _group_of(self, add: _Add) -> list[_Add]:
        """The adds that can share a transaction with `add`, in order of arrival; `add` is one of them."""
        group, n_rows = [add], len(add.rows)
        for other in self._waiting:
            if other is add or (other.collection, other.replace) != (add.collection, add.replace):
                continue
            n_rows += len(other.rows)
            if n_rows > MAX_ROWS:
                break
            group.append(other)
        self._waiting = [other for other in self._waiting if other not in group]
        return group

    async def _store_group(self, group: Sequence[_Add]) -> None:
        rows = [row for add in group for row in add.rows]
        try:
            results = iter(await self._store(group[0].collection, rows, group[0].replace, _notes_of(group)))
        except Exception as error:
            await self._after_failure(group, error)
            return
        for add in group:
            add.results = [next(results) for _ in add.rows]
            add.done = True

    async def _after_failure(self, group: Sequence[_Add], error: Exception) -> None:
        """Retry the adds of a failed group one by one: there may be room for some of them."""
        if len(group) == 1:
            group[0].error, group[0].done = error, True
            return
        for add in group:
            await self._store_group([add])


def _notes_of(group: Sequence[_Add]) -> list[JobNote]:
    """The notes of all adds, about the rows of all of them."""
    found: list[JobNote] = []
    n_before = 0
    for add in group:
        found += [one if one.row is None else changed(one, row=n_before + one.row) for one in add.notes]
        n_before += len(add.rows)
    return found

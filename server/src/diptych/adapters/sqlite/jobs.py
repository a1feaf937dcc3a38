"""Jobs, their items and outcomes, in the database of the collections. Their inputs are files of their own."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from diptych import errors
from diptych.adapters.sql.connection import Connection, Cursor, Threads
from diptych.adapters.sql.rows import now
from diptych.core.collections.metadata.checks import to_json
from diptych.core.collections.stored.ids import collection_not_found
from diptych.core.job import EndState, Job, JobItem, JobOutcome
from diptych.core.types import AddOutcome
from diptych.errors import Conflict, DiptychError, NotFound

_JOBS = (
    "SELECT j.id, coalesce(c.name, j.name), replaces, state, n_items, j.created_at, finished_at, reason"
    " FROM jobs j LEFT JOIN collections c ON c.number = j.collection"
)
_COUNTS = "SELECT status, count(*) FROM job_items WHERE job = ? AND status IS NOT NULL GROUP BY status"
OPEN = "queued"  # the stored state of every job that has not ended; which one runs is known in memory only


class SqlJobs:
    """Satisfies `diptych.core.jobs.ports.JobStore`."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def create(self, job: Job, items: Sequence[JobItem]) -> None:
        """Store a waiting job. Raises NotFound if its collection was renamed or dropped meanwhile."""

        def work(db: Connection) -> None:
            found = db.execute("SELECT number FROM collections WHERE name = ?", (job.collection,)).fetchone()
            if found is None:
                raise collection_not_found(job.collection)
            (c,) = found
            db.execute(
                "INSERT INTO jobs (id, collection, replaces, state, n_items, created_at, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, '')",
                (job.id, c, int(job.replace), OPEN, job.n_items, job.created_at),
            )
            db.executemany(
                "INSERT INTO job_items (job, number, at, n_bytes, id, metadata, error, file)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (_item_row(job.id, item) for item in items),
            )

        await self._threads.write(work)

    async def jobs(self) -> list[Job]:
        """All jobs, newest first. A job that has not ended is "queued"."""

        def work(db: Connection) -> list[Job]:
            rows = db.execute(f"{_JOBS} ORDER BY j.rowid DESC").fetchall()
            return [_job(db, row) for row in rows]

        return await self._threads.read(work)

    async def find(self, id: str) -> Job | None:
        """The job of this id, if there is one."""

        def work(db: Connection) -> Job | None:
            row = db.execute(f"{_JOBS} WHERE j.id = ?", (id,)).fetchone()
            return None if row is None else _job(db, row)

        return await self._threads.read(work)

    async def pending_items(self, id: str, limit: int) -> list[JobItem]:
        """The first items without an outcome, at most `limit`, in order; none if the job has ended.

        A job ends when its collection is dropped.
        """
        query = (
            "SELECT number, at, n_bytes, id, metadata, error, file FROM job_items"
            " WHERE job = (SELECT id FROM jobs WHERE id = ? AND state = ?) AND status IS NULL"
            " ORDER BY number LIMIT ?"
        )
        return await self._threads.read(
            lambda db: [_item(row) for row in db.execute(query, (id, OPEN, limit))]
        )

    async def outcomes(self, id: str, after: int, limit: int) -> list[JobOutcome]:
        """The outcomes with an index above `after`, at most `limit`, in order."""
        query = (
            "SELECT number, id, status, error, file, metadata_differs FROM job_items"
            " WHERE job = ? AND number > ? AND status IS NOT NULL ORDER BY number LIMIT ?"
        )
        return await self._threads.read(
            lambda db: [_outcome(row) for row in db.execute(query, (id, after, limit))]
        )

    async def finish(self, id: str, state: EndState, reason: str) -> None:
        """End a job. A job that has already ended is not changed. Always within the quota."""
        update = "UPDATE jobs SET state = ?, reason = ?, finished_at = ? WHERE id = ? AND state = ?"
        values = (state, reason, now(), id, OPEN)
        await self._threads.write(lambda db: _run(db.execute(update, values)), makes_room=True)

    async def forget(self, keep: int) -> None:
        """Remove ended jobs except `keep`: of each collection the newest, then the second newest, and so on.

        Many jobs of one collection therefore never displace the newest jobs of others.
        """
        place = "row_number() OVER (PARTITION BY collection, name ORDER BY rowid DESC)"
        delete = (
            "DELETE FROM jobs WHERE state <> ? AND rowid NOT IN"  # noqa: S608 - a constant is inserted
            f" (SELECT rowid FROM jobs WHERE state <> ? ORDER BY {place}, rowid DESC LIMIT ?)"
        )
        values = (OPEN, OPEN, keep)
        await self._threads.write(lambda db: _run(db.execute(delete, values)), makes_room=True)


def record(db: Connection, c: int, job: str, item: int, outcome: AddOutcome) -> None:
    """Record the outcome of an item and delete its metadata. Only the first outcome of an item counts.

    An item may have two outcomes because an add that fails after its commit is tried again. Raises NotFound
    if the job has ended, or adds to another collection than `c`, as that of the same name before.
    """
    query = "SELECT 1 FROM jobs WHERE id = ? AND state = ? AND collection = ?"
    if db.execute(query, (job, OPEN, c)).fetchone() is None:
        raise NotFound(f"job {job!r} has ended")
    db.execute(
        "UPDATE job_items SET status = ?, id = ?, error = ?, metadata_differs = ?, metadata = NULL"
        " WHERE job = ? AND number = ? AND status IS NULL",
        (
            outcome.status,
            outcome.id,
            _error_text(outcome.error),
            int(outcome.metadata_differs),
            job,
            item,
        ),
    )


def require_no_job(db: Connection, c: int, name: str) -> None:
    """Raises Conflict while a job adds, or waits to add, to the collection of this name."""
    query = "SELECT 1 FROM jobs WHERE collection = ? AND state = ?"
    if db.execute(query, (c, OPEN)).fetchone() is not None:
        raise Conflict(f"a job adds to collection {name!r}: wait for its end, or cancel it")


def end_with_collection(db: Connection, c: int, name: str) -> None:
    """End the jobs of a collection that is dropped. They keep its name."""
    db.execute(
        "UPDATE jobs SET state = ?, reason = ?, finished_at = ? WHERE collection = ? AND state = ?",
        ("failed", f"collection {name!r} was dropped", now(), c, OPEN),
    )
    db.execute("UPDATE jobs SET collection = NULL, name = ? WHERE collection = ?", (name, c))


def mark_dropped(db: Connection, name: str) -> None:
    """Give the jobs of a dropped collection a name that no collection can have, as another takes theirs.

    Ids and names of files are in their outcomes, which are not for whoever sees only the new collection.
    """
    db.execute("UPDATE jobs SET name = ? WHERE name = ?", (f"{name} (dropped)", name))


def _run(cursor: Cursor) -> None:
    """Ignore the cursor of a statement that has run."""


def _job(db: Connection, row: Iterable[Any]) -> Job:
    id, collection, replace, state, n_items, created_at, finished_at, reason = row
    return Job(
        id=id,
        collection=collection,
        replace=bool(replace),
        state=state,
        n_items=n_items,
        created_at=created_at,
        finished_at=finished_at,
        reason=reason,
        counts=dict(db.execute(_COUNTS, (id,)).fetchall()),
    )


def _item_row(job: str, item: JobItem) -> tuple[Any, ...]:
    metadata = None if item.metadata is None else to_json(item.metadata)
    at = (item.number, item.offset, item.n_bytes)
    return (job, *at, item.id, metadata, _error_text(item.error), item.file)


def _item(row: Iterable[Any]) -> JobItem:
    number, offset, n_bytes, id, metadata, error, file = row
    known = None if metadata is None else json.loads(metadata)
    return JobItem(number, offset, n_bytes, id, known, _error(error), file)


def _outcome(row: Iterable[Any]) -> JobOutcome:
    number, id, status, error, file, metadata_differs = row
    return JobOutcome(number, id, status, _error(error), file, bool(metadata_differs))


def _error_text(error: DiptychError | None) -> str | None:
    if error is None:
        return None
    return json.dumps([type(error).__name__, error.message, error.item])


def _error(text: str | None) -> DiptychError | None:
    """Rebuild a stored error; DiptychError if a newer version stored a class that is unknown here."""
    if text is None:
        return None
    name, message, item = json.loads(text)
    kind = getattr(errors, name, DiptychError)
    error: DiptychError = kind(message)
    error.item = item
    return error

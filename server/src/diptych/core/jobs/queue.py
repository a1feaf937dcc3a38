"""The order in which jobs run, and how many of each key wait."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from diptych.core.concurrency.fair_queue import Tenant
from diptych.core.job import Job
from diptych.errors import Conflict, NotFound, NotReady

LOOK_AGAIN_S = 1.0  # while jobs wait for their collections; each check is one dictionary look-up


class JobQueue:
    """Jobs of which tenants take turns, each in order of arrival.

    A job whose collection is not served lets those behind it go first.

    A job is in the queue from when it is accepted until its end is on disk, including while it runs.
    """

    def __init__(self, require_served: Callable[[str], object]) -> None:
        """`require_served(collection)` raises Conflict when it is not served, NotReady until it is embedded,
        NotFound when it is gone.
        """
        self._require_served = require_served
        self._collections: dict[str, str] = {}  # by job
        self._tenants: dict[str, Tenant] = {}  # by job
        self._turns = count(1)
        self._last_turns: dict[Tenant, int] = {}
        self._cancelled: set[str] = set()
        self._more = asyncio.Event()

    def __contains__(self, id: str) -> bool:
        return id in self._collections

    def __len__(self) -> int:
        return len(self._collections)

    def n_of(self, tenant: Tenant) -> int:
        """The number of jobs of a tenant."""
        return sum(one == tenant for one in self._tenants.values())

    def tenant_of(self, id: str) -> Tenant:
        """Whose job it is."""
        return self._tenants[id]

    def put(self, job: Job, tenant: Tenant = "") -> None:
        """Append a job. The tenant of a job that an earlier start accepted is not known."""
        self._collections[job.id], self._tenants[job.id] = job.collection, tenant
        self._more.set()

    def cancel(self, id: str) -> None:
        """Mark a job as cancelled: its turn never comes."""
        self._cancelled.add(id)

    def is_cancelled(self, id: str) -> bool:
        """Whether the job is cancelled and its end is not on disk yet."""
        return id in self._cancelled

    def remove(self, id: str) -> None:
        """Remove a job that has ended; one that is not in the queue is fine."""
        self._collections.pop(id, None)
        self._tenants.pop(id, None)
        self._cancelled.discard(id)

    def has_job_of(self, collection: str) -> bool:
        """Whether a job adds to the collection, or waits to."""
        return collection in self._collections.values()

    def obstacle(self, id: str) -> str:
        """Why the job's turn cannot come yet, or empty.

        Also empty for a job whose collection is gone, which will end it, and for a job that is not in the
        queue.
        """
        if id not in self._collections:
            return ""
        try:
            self._require_served(self._collections[id])
        except (Conflict, NotReady) as error:
            return error.message
        except NotFound:
            return ""
        return ""

    async def next(self) -> str:
        """Wait for the first job whose turn can come, and count that turn. The job stays in the queue."""
        while True:
            self._more.clear()
            waiting = [id for id in self._collections if id not in self._cancelled]
            for id in sorted(waiting, key=self._last_turn):
                if not self.obstacle(id):
                    self._last_turns[self._tenants[id]] = next(self._turns)
                    return id
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S if waiting else None):
                    await self._more.wait()

    def _last_turn(self, id: str) -> int:
        return self._last_turns.get(self._tenants[id], 0)

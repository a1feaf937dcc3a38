"""Whose turn it is among the jobs that have not ended; knows nothing of what they do."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from diptych.core.job import Job
from diptych.errors import Conflict, NotFound

LOOK_AGAIN_S = 1.0  # while jobs wait for their collections: to look costs a dictionary's entry each


class JobQueue:
    """In the order of their coming; one whose collection is not served lets those behind it go first.

    A job is in the queue from when it is accepted until its end is on the disk, also while it runs.
    """

    def __init__(self, require_served: Callable[[str], object]) -> None:
        """`require_served(collection)` raises Conflict when it is not served, NotFound when it is gone."""
        self._require_served = require_served
        self._collections: dict[str, str] = {}  # by job
        self._cancelled: set[str] = set()
        self._more = asyncio.Event()

    def __contains__(self, id: str) -> bool:
        return id in self._collections

    def __len__(self) -> int:
        return len(self._collections)

    def put(self, job: Job) -> None:
        """Behind all others."""
        self._collections[job.id] = job.collection
        self._more.set()

    def cancel(self, id: str) -> None:
        """Its turn comes no more."""
        self._cancelled.add(id)

    def is_cancelled(self, id: str) -> bool:
        """Whether it is, and its end not on the disk yet."""
        return id in self._cancelled

    def remove(self, id: str) -> None:
        """It has ended; one that is not there is fine."""
        self._collections.pop(id, None)
        self._cancelled.discard(id)

    def has_job_of(self, collection: str) -> bool:
        """Whether one adds to it, or waits to."""
        return collection in self._collections.values()

    def obstacle(self, id: str) -> str:
        """Why its turn cannot come yet, or nothing: also of a collection that is gone, which ends it, and of
        a job that has ended since, or is about to be put here.
        """
        if id not in self._collections:
            return ""
        try:
            self._require_served(self._collections[id])
        except Conflict as error:
            return error.message
        except NotFound:
            return ""
        return ""

    async def next(self) -> str:
        """The first whose turn can come, as soon as there is one. It stays in the queue."""
        while True:
            self._more.clear()
            waiting = [id for id in self._collections if id not in self._cancelled]
            for id in waiting:
                if not self.obstacle(id):
                    return id
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S if waiting else None):
                    await self._more.wait()

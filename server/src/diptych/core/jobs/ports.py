"""What jobs need from the outside, by role; knows nothing of who plays the role."""

from collections.abc import Sequence
from typing import Protocol

from diptych.core.job import EndState, Job, JobItem, JobOutcome


class JobStore(Protocol):
    """Jobs, their items and outcomes. Writes are durable when they return. Raises StoreError.

    An outcome is written with the row that it speaks of: see RecordStore.put. A job ends in the same commit
    as its collection, which cannot be renamed before.
    """

    async def create(self, job: Job, items: Sequence[JobItem]) -> None:
        """A job that waits. Raises NotFound for its collection."""
        ...

    async def jobs(self) -> list[Job]:
        """All of them, the newest first. One that has not ended is "queued"."""
        ...

    async def find(self, id: str) -> Job | None:
        """One of them."""
        ...

    async def todo(self, id: str, limit: int) -> list[JobItem]:
        """The first items without an outcome, at most `limit`, in their order."""
        ...

    async def outcomes(self, id: str, after: int, limit: int) -> list[JobOutcome]:
        """Those with an index above `after`, at most `limit`, in their order."""
        ...

    async def finish(self, id: str, state: EndState, reason: str) -> None:
        """Nothing more becomes of it. A job that has ended stays as it is. Always within the quota."""
        ...

    async def forget(self, keep: int) -> None:
        """Remove those that have ended, but for the newest `keep`."""
        ...


class JobInput(Protocol):
    """The input of one job while it comes in. Raises StoreError when the disk refuses.

    Overloaded when all inputs together would have more bytes than they may.
    """

    id: str
    n_bytes: int  # so far

    async def write(self, chunk: bytes | bytearray) -> None:
        """Append. The chunk must not change meanwhile."""
        ...

    def read(self, offset: int, n_bytes: int) -> bytes:
        """What was written there; fewer bytes at the end. Blocking."""
        ...

    async def finish(self) -> None:
        """All of it is on the disk, under its name, when this returns."""
        ...

    async def close(self) -> None:
        """Remove it, unless it is finished."""
        ...


class JobInputs(Protocol):
    """The inputs of jobs by their id. Raises StoreError when the disk refuses."""

    async def create(self, id: str) -> JobInput:
        """An empty one."""
        ...

    async def read(self, id: str, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        """Pieces of (offset, bytes). Raises CorruptStore when the input is gone or shorter."""
        ...

    async def keep_only(self, ids: set[str]) -> None:
        """Remove all other inputs, and what broken ones left."""
        ...

    async def remove(self, id: str) -> None:
        """One that is not there is fine."""
        ...

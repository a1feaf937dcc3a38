"""Ports of jobs: a store and inputs."""

from collections.abc import Sequence
from typing import Protocol

from diptych.core.job import EndState, Job, JobItem, JobOutcome


class JobStore(Protocol):
    """Jobs, their items and outcomes. Writes are durable when they return. Raises StoreError.

    An outcome is written with its row: see RowWriter.put. A job ends in the same commit as its collection,
    which cannot be renamed before.
    """

    async def create(self, job: Job, items: Sequence[JobItem]) -> None:
        """Store a queued job. Raises NotFound for its collection."""
        ...

    async def jobs(self) -> list[Job]:
        """All jobs, newest first. One that has not ended is "queued"."""
        ...

    async def find(self, id: str) -> Job | None:
        """One job, or None."""
        ...

    async def pending_items(self, id: str, limit: int) -> list[JobItem]:
        """The first items without an outcome, at most `limit`, in order."""
        ...

    async def outcomes(self, id: str, after: int, limit: int) -> list[JobOutcome]:
        """Outcomes with an index above `after`, at most `limit`, in order."""
        ...

    async def finish(self, id: str, state: EndState, reason: str) -> None:
        """Record the end of a job. A job that has ended stays as it is. Always fits into the quota."""
        ...

    async def forget(self, keep: int) -> None:
        """Remove ended jobs, except the newest `keep`."""
        ...


class JobInput(Protocol):
    """The input of one job while it is received. Raises StoreError when the disk fails.

    Raises Overloaded when all inputs together would exceed their limit.
    """

    id: str
    n_bytes: int  # so far

    async def write(self, chunk: bytes | bytearray) -> None:
        """Append a chunk, which must not change meanwhile."""
        ...

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Read what was written; fewer bytes at the end. Blocking."""
        ...

    async def finish(self) -> None:
        """Make all of it durable under its name."""
        ...

    async def close(self) -> None:
        """Remove it, unless it is finished."""
        ...


class JobInputs(Protocol):
    """The inputs of jobs by job id. Raises StoreError when the disk fails."""

    async def create(self, id: str) -> JobInput:
        """Create an empty input."""
        ...

    async def read(self, id: str, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read pieces of (offset, bytes). Raises CorruptStore when the input is gone or too short."""
        ...

    async def keep_only(self, ids: set[str]) -> set[str]:
        """Remove all other inputs, and leftovers of interrupted ones; return the ids that stay."""
        ...

    async def remove(self, id: str) -> None:
        """Remove an input; one that does not exist is fine."""
        ...

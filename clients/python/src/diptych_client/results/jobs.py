"""Jobs, and the outcomes of their images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diptych_client.errors import ClientError
from diptych_client.results.images import AddStatus


@dataclass(frozen=True)
class JobOutcome:
    """The outcome of the `index`-th image of a job, as `AddOutcome`. `file` is its name in the archive."""

    index: int
    id: str | None
    status: AddStatus
    error: ClientError | None = None
    file: str | None = None
    metadata_differs: bool = False


@dataclass(frozen=True)
class Job:
    """A job, which adds many images. `state` is "queued", "running", "done", "cancelled" or "failed".

    `counts`: numbers of finished items by status. `reason`: why it failed, or why it is waiting.
    """

    id: str
    collection: str
    replace: bool
    state: str
    n_items: int
    n_done: int
    counts: Mapping[str, int]
    created_at: str
    finished_at: str | None
    reason: str

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended, in whatever state."""
        return self.finished_at is not None


@dataclass(frozen=True)
class JobPage:
    """One page of outcomes of a job. `next` is the `after` of the next page; None if there is none yet."""

    job: Job
    outcomes: tuple[JobOutcome, ...]
    next: int | None

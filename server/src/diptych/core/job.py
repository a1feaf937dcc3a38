"""What a job is: a long add, its input and its progress; knows nothing of how it is run or kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from diptych.core.types import AddStatus, Metadata
from diptych.errors import DiptychError

# "queued" and "running" end as one of the others. "failed": what concerns all items came in the way.
JobState = Literal["queued", "running", "done", "cancelled", "failed"]
EndState = Literal["done", "cancelled", "failed"]


@dataclass(frozen=True)
class JobItem:
    """One image of a job: where its bytes are in the input. One that has an `error` already has no bytes.

    `file`: its name in an archive, for the outcome.
    """

    number: int
    offset: int
    n_bytes: int
    id: str | None = None
    metadata: Metadata | None = None
    error: DiptychError | None = None
    file: str | None = None


@dataclass(frozen=True)
class JobOutcome:
    """What became of item `index`. `error` is set exactly when the status is "failed"."""

    index: int
    id: str | None
    status: AddStatus
    error: DiptychError | None = None
    file: str | None = None


# What jobs hear of an add, by job: on the disk in one commit with its rows, or not at all. Between two
# commits a row could be deleted, and would return with a job that does not know that it has added it.
JobOutcomes = Mapping[str, Sequence[JobOutcome]]


@dataclass(frozen=True)
class Job:
    """`counts` has the items that are done by status; `reason` says why the state is "failed"."""

    id: str
    collection: str
    replace: bool
    state: JobState
    n_items: int
    created_at: str  # ISO 8601, UTC
    finished_at: str | None = None
    reason: str = ""
    counts: Mapping[AddStatus, int] = field(default_factory=dict)

    @property
    def n_done(self) -> int:
        """Items that have an outcome."""
        return sum(self.counts.values())

    @property
    def has_ended(self) -> bool:
        """Nothing more becomes of it."""
        return self.state not in {"queued", "running"}

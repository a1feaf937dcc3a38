"""Jobs, their items and outcomes: the values of long adds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from diptych.core.types import AddOutcome, AddStatus, Metadata
from diptych.errors import DiptychError

# "queued" and "running" end as one of the others. "failed": an error that concerns all items.
JobState = Literal["queued", "running", "done", "cancelled", "failed"]
EndState = Literal["done", "cancelled", "failed"]


@dataclass(frozen=True)
class JobItem:
    """One image of a job: where its bytes are in the input. An item that has an `error` has no bytes.

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
    """The outcome of item `index`, as AddOutcome. `file`: its name in an archive."""

    index: int
    id: str | None
    status: AddStatus
    error: DiptychError | None = None
    file: str | None = None
    metadata_differs: bool = False


@dataclass(frozen=True)
class JobNote:
    """The outcome of an item of a job: `outcome`, or else what comes of row number `row` of an add.

    It is durable in one commit with that row: with two commits, the row could be deleted in between, and
    would return when the job, which does not know that it was added, is resumed.
    """

    job: str
    item: int
    row: int | None = None
    outcome: AddOutcome | None = None


@dataclass(frozen=True)
class Job:
    """A long add. `counts` has the finished items by status; `reason` says why the state is "failed"."""

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
        """Whether the state is final."""
        return self.state not in {"queued", "running"}

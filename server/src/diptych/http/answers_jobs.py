"""What calls on jobs answer, as types. Knows nothing of how the values came to be."""

from pydantic import BaseModel, Field

from diptych.core.job import Job, JobOutcome, JobState
from diptych.core.types import AddStatus
from diptych.http.errors.problem_json import Problem, problem_of


class JobLinks(BaseModel):
    """Paths on this server."""

    self: str
    outcomes: str
    events: str


class JobResponse(BaseModel):
    """A long add. An item is acknowledged by its outcome, not by the job; `counts` tells of those."""

    id: str
    collection: str
    replace: bool
    state: JobState = Field(description='"failed": what concerned all items came in the way, see `reason`')
    n_items: int
    n_done: int
    counts: dict[AddStatus, int]
    created_at: str = Field(description="ISO 8601, UTC")
    finished_at: str | None
    reason: str = Field(description="why it failed, or does not get on; else empty")
    links: JobLinks

    @classmethod
    def of(cls, job: Job) -> "JobResponse":
        """The same, for the wire."""
        path = f"/jobs/{job.id}"
        links = JobLinks(self=path, outcomes=f"{path}/outcomes", events=f"{path}/events")
        statuses: tuple[AddStatus, ...] = ("created", "unchanged", "replaced", "failed")
        counts = {status: job.counts.get(status, 0) for status in statuses}
        return cls(**vars(job) | {"counts": counts}, n_done=job.n_done, links=links)


class JobList(BaseModel):
    """Jobs, the newest first. Of those that have ended, the last hundred are known."""

    jobs: list[JobResponse]


class JobOutcomeResponse(BaseModel):
    """What became of one image of a job. `file` is its name in the archive, null where there was none."""

    index: int
    id: str | None
    status: AddStatus
    error: Problem | None
    file: str | None

    @classmethod
    def of(cls, outcome: JobOutcome, request_id: str) -> "JobOutcomeResponse":
        """The same, its error as a problem of the request that asks."""
        error = None if outcome.error is None else problem_of(outcome.error, request_id)
        return cls(**vars(outcome) | {"error": error})


class JobOutcomePage(BaseModel):
    """Some outcomes by index; `next` is the `after` of the page that follows, null when no more is known."""

    job: JobResponse
    outcomes: list[JobOutcomeResponse]
    next: int | None

"""Jobs: archives of images that the server receives and then processes in the background."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from diptych_client.binding import Call
from diptych_client.operations.describing import version
from diptych_client.results.jobs import Job, JobOutcome, JobPage
from diptych_client.steps import TAR, Request, Sleep, Steps, path_of, result_of

PAGE = 500
POLL_S = 0.5


def add_tar(
    file: str | os.PathLike[str], *, collection: str | None = None, replace: bool = False
) -> Steps[Job]:
    """Add the images in a tar archive of any size as a job. `follow_job` returns the outcomes.

    The archive is streamed from disk. `cat.json` next to `cat.jpg` may contain {"id": .., "metadata": {..}};
    metadata has the name in the archive as `file`. When this returns, the server has the archive on its disk
    and continues the job even after a restart. Raises UnreadableFile.

    >>> job = client.add_tar("photos.tar", collection="pets")
    >>> client.follow_job(job.id).counts["created"]
    2
    """
    if collection is None:
        collection = (yield from version()).default_collection
    request = Request(
        "POST",
        path_of("collections", collection, "images"),
        {"replace": "true"} if replace else {},
        file=Path(file),
        content_type=TAR,
        idempotent=False,  # it would become a second job
    )
    return (yield from result_of(request, Job))


def jobs() -> Steps[list[Job]]:
    """List all jobs of the server, newest first.

    >>> running = [job.id for job in client.jobs() if not job.has_ended]
    """
    return result_of(Request("GET", "/jobs"), list[Job], "jobs")


def job(id: str) -> Steps[Job]:
    """Return the state of one job. Raises NotFound.

    >>> job = client.add_tar("photos.tar", collection="pets")
    >>> client.job(job.id).n_items
    2
    """
    return result_of(Request("GET", path_of("jobs", id)), Job)


def cancel_job(id: str) -> Steps[Job]:
    """Cancel a job. Finished items stay, the others are not tried. A job that has ended does not change.

    >>> job = client.add_tar("photos.tar", collection="pets")
    >>> client.cancel_job(job.id).has_ended
    True
    """
    return result_of(Request("DELETE", path_of("jobs", id)), Job)


def job_outcomes(id: str, *, after: int = -1, limit: int = 100) -> Steps[JobPage]:
    """Return the known outcomes of the items after index `after`, in order.

    >>> job = client.add_tar("photos.tar", collection="pets")
    >>> page = client.job_outcomes(client.follow_job(job.id).id)
    >>> [outcome.index for outcome in page.outcomes]
    [0, 1]
    """
    params = {"after": str(after), "limit": str(limit)}
    return result_of(Request("GET", path_of("jobs", id, "outcomes"), params), JobPage)


def follow_job(
    id: str, *, on_outcome: Callable[[JobOutcome], None] | None = None, after: int = -1
) -> Steps[Job]:
    """Wait for the end of a job. Calls `on_outcome` for each item after index `after`, in order.

    >>> job = client.add_tar("photos.tar", collection="pets")
    >>> client.follow_job(job.id, on_outcome=lambda outcome: print(outcome.status)).state
    created
    created
    'done'
    """
    while True:
        page = yield from job_outcomes(id, after=after, limit=PAGE)
        for outcome in page.outcomes:
            after = outcome.index
            if on_outcome is not None:
                on_outcome(outcome)
        if len(page.outcomes) == PAGE:
            continue
        if page.job.has_ended:
            return page.job
        yield Sleep(POLL_S)


class JobsCalls:
    """The calls of this module, as methods of both clients."""

    add_tar = Call(add_tar)
    jobs = Call(jobs)
    job = Call(job)
    cancel_job = Call(cancel_job)
    job_outcomes = Call(job_outcomes)
    follow_job = Call(follow_job)

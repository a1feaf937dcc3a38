"""Jobs: archives of images that the server takes in and works off by itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from diptych_client import parsing
from diptych_client.operations.describing import version
from diptych_client.results import Job, JobOutcome, JobPage
from diptych_client.steps import Request, Sleep, Steps, exchange, path_of

TAR = "application/x-tar"
PAGE = 500
POLL_S = 0.5


def add_tar(
    file: str | os.PathLike[str], *, collection: str | None = None, replace: bool = False
) -> Steps[Job]:
    """Add the images in a tar archive, however many there are; `follow_job` tells what becomes of them.

    The archive is streamed from the disk. `cat.json` beside `cat.jpg` may hold {"id": .., "metadata": {..}};
    metadata has the name in the archive as `file`. The server has all of it on its disk when this returns,
    and goes on after a restart. Raises UnreadableFile.
    """
    if collection is None:
        collection = (yield from version()).default_collection
    request = Request(
        "POST",
        path_of("collections", collection, "images"),
        {"replace": "true"} if replace else {},
        file=Path(file),
        content_type=TAR,
    )
    body = (yield from exchange(request)).json()
    with parsing.reading("an archive"):
        return parsing.job(body)


def jobs() -> Steps[list[Job]]:
    """All jobs that the server knows, the newest first."""
    body = (yield from exchange(Request("GET", "/jobs"))).json()
    with parsing.reading("/jobs"):
        return [parsing.job(row) for row in body["jobs"]]


def job(id: str) -> Steps[Job]:
    """How far one job is. Raises NotFound."""
    body = (yield from exchange(Request("GET", path_of("jobs", id)))).json()
    with parsing.reading("a job"):
        return parsing.job(body)


def cancel_job(id: str) -> Steps[Job]:
    """End a job: what is done stays, the rest is not tried. One that has ended stays as it is."""
    body = (yield from exchange(Request("DELETE", path_of("jobs", id)))).json()
    with parsing.reading("a job"):
        return parsing.job(body)


def job_outcomes(id: str, *, after: int = -1, limit: int = 100) -> Steps[JobPage]:
    """What became of the items behind index `after`, in their order, as far as it is known."""
    params = {"after": str(after), "limit": str(limit)}
    body = (yield from exchange(Request("GET", path_of("jobs", id, "outcomes"), params))).json()
    with parsing.reading("the outcomes of a job"):
        return parsing.job_page(body)


def follow_job(
    id: str, *, on_outcome: Callable[[JobOutcome], None] | None = None, after: int = -1
) -> Steps[Job]:
    """Wait for the end of a job; `on_outcome` hears of each item behind index `after`, in their order."""
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

"""Jobs whose collection is not served for a while wait, say why, and continue when it is served again."""

from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.sqlite.jobs import SqliteJobs
from diptych.core.job import Job
from diptych.core.jobs import queue
from diptych.core.jobs.service import Jobs
from diptych.errors import StoreFull
from integration.job_parts import Gate, RunJobs, end_of, job_stories, submit, until_done
from integration.store_parts import Opened
from support.tiny_bundle import write_tiny_bundle

OTHER = "other"
NOT_SERVED = (
    "collection 'pets' has vectors of model 'tiny' and no images that could be embedded again, so that it "
    "can be read and deleted from only: tiny/1 in fp32 cannot be loaded: no model named 'tiny'; there is: "
    "other"
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunJobs:
    monkeypatch.setattr(queue, "LOOK_AGAIN_S", 0.01)
    write_tiny_bundle(tmp_path / "repo")
    write_tiny_bundle(tmp_path / "repo", OTHER, seed=7)
    return job_stories(tmp_path / "repo", tmp_path / "data")


@pytest.fixture
def interrupted(run: RunJobs, tmp_path: Path) -> Job:
    """Two of its four images are added, the rest waits for the next start; its model is gone."""
    known: list[Job] = []

    async def story(opened: Opened, jobs: Jobs) -> None:
        gate = Gate(opened)
        await opened.collections.create("pets", "none")
        known.append(await submit(jobs, 4, collection="pets"))
        gate.permits.release()
        await until_done(jobs, known[0].id, 2)

    run(story)
    (tmp_path / "repo" / "tiny").rename(tmp_path / "tiny")
    return known[0]


def test_job_waits_while_another_model_is_served_and_goes_on_once_its_own_is(
    run: RunJobs, interrupted: Job, tmp_path: Path
) -> None:
    async def under_another_model(opened: Opened, jobs: Jobs) -> None:
        await opened.collections.create("their_own")
        theirs = await submit(jobs, 3, first=20, collection="their_own")
        assert (await end_of(jobs, theirs.id)).state == "done"  # it does not wait behind the other
        (_, waits) = await jobs.list()
        assert (waits.state, waits.reason, waits.n_done) == ("queued", NOT_SERVED, 2)
        assert (tmp_path / "data" / "jobs" / interrupted.id).exists()

    async def under_its_own(opened: Opened, jobs: Jobs) -> None:
        ended = await end_of(jobs, interrupted.id)
        assert (ended.state, ended.reason, ended.counts) == ("done", "", {"created": 4})
        assert await opened.listed("pets") == ["i00", "i01", "i02", "i03"]

    run(under_another_model, model=OTHER)
    (tmp_path / "tiny").rename(tmp_path / "repo" / "tiny")
    run(under_its_own)


def test_job_that_waits_for_its_model_is_cancelled_at_once(
    run: RunJobs, interrupted: Job, tmp_path: Path
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        cancelled = await jobs.cancel(interrupted.id)
        assert (cancelled.state, cancelled.reason, cancelled.n_done) == ("cancelled", "", 2)
        assert list((tmp_path / "data" / "jobs").iterdir()) == []

    run(story, model=OTHER)


def test_job_that_waits_for_its_model_ends_with_its_collection(run: RunJobs, interrupted: Job) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        await opened.collections.drop("pets")
        ended = await end_of(jobs, interrupted.id)
        assert (ended.state, ended.reason) == ("failed", "collection 'pets' was dropped")
        jobs.require_none("pets")

    run(story, model=OTHER)


def test_job_goes_on_while_its_collection_is_embedded_for_another_model(
    run: RunJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[Job] = []

    async def before(opened: Opened, jobs: Jobs) -> None:
        gate = Gate(opened)
        await opened.collections.create("pets")
        known.append(await submit(jobs, 6, collection="pets"))
        gate.permits.release()
        await until_done(jobs, known[0].id, 2)

    def fill_disk(opened: Opened) -> None:
        async def full(*values: Any) -> Any:
            raise StoreFull("no space is left")

        monkeypatch.setattr(opened.records.vectors, "put", full)

    async def after(opened: Opened, jobs: Jobs) -> None:
        ended = await end_of(jobs, known[0].id)
        assert (ended.state, ended.reason, ended.counts) == ("done", "", {"created": 6})
        info = await opened.collections.get("pets")
        assert (info.state, info.n_images, info.n_embedded) == ("embedding", 6, 4)

    run(before)
    (tmp_path / "repo" / "tiny").rename(tmp_path / "tiny")
    run(after, model=OTHER, before=fill_disk)


def test_job_whose_collection_is_gone_and_made_again_never_fills_it(run: RunJobs, interrupted: Job) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        await opened.collections.drop("pets")
        await opened.collections.create("pets")
        assert (await end_of(jobs, interrupted.id)).state == "failed"
        assert await opened.listed("pets") == []

    run(story, model=OTHER)


def test_job_that_ends_while_it_is_looked_up_is_reported_as_it_was(
    run: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        gate = Gate(opened)
        await opened.collections.create("pets")
        job = await submit(jobs, 1, collection="pets")
        read = SqliteJobs.jobs

        async def read_before_its_end(store: SqliteJobs) -> list[Job]:
            found = await read(store)
            gate.permits.release()
            await end_of(jobs, job.id)
            return found

        monkeypatch.setattr(SqliteJobs, "jobs", read_before_its_end)
        (told,) = await jobs.list()
        assert (told.id, told.has_ended, told.reason) == (job.id, False, "")

    run(story)

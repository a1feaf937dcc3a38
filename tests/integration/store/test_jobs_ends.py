"""Jobs that end or wait for outside reasons: cancelled, collection dropped or not served, disk full."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.sqlite.jobs import SqlJobs
from diptych.core.job import Job
from diptych.core.jobs import queue, service
from diptych.core.jobs.service import Jobs
from diptych.errors import StoreError, StoreFull, StoreReadOnly
from integration.job_parts import Gate, RunJobs, end_of, job_stories, once, stalled_job, submit, until_done
from integration.store_parts import EncoderGate, Opened
from support.tiny_bundle import write_tiny_bundle
from unit.core.core_fakes import until

DROPPED = ("failed", "collection 'x' was dropped")


@pytest.fixture
def inputs(tmp_path: Path) -> Callable[[], list[str]]:
    return lambda: sorted(path.name for path in (tmp_path / "data" / "jobs").iterdir())


class Disk:
    """Takes the end of no job while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: StoreError, n_times: int = 10**9) -> None:
        self.n_times = n_times
        finish = SqlJobs.finish

        async def refuse(store: SqlJobs, *args: Any) -> None:
            if self.n_times > 0:
                self.n_times -= 1
                raise error
            await finish(store, *args)

        monkeypatch.setattr(SqlJobs, "finish", refuse)
        monkeypatch.setattr(service, "PAUSE_S", 0.01)


async def drop_and_create(opened: Opened, name: str) -> None:
    await opened.collections.drop(name)
    await opened.collections.create(name)


def test_waiting_job_ends_with_its_collection_and_never_fills_another_of_the_name(
    run_jobs: RunJobs,
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        gate = Gate(opened)
        await opened.collections.create("x")
        first, waits = await submit(jobs, 1), await submit(jobs, 4, collection="x")
        await until(lambda: gate.n_waiting > 0)
        await drop_and_create(opened, "x")
        for _ in range(4):
            gate.permits.release()
        assert (await end_of(jobs, first.id)).state == "done"
        ended = await end_of(jobs, waits.id)
        assert (ended.state, ended.reason) == DROPPED
        assert await opened.listed("x") == []

    run_jobs(story)


def test_jobs_that_ended_long_ago_are_forgotten(run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_ENDED", 1)

    async def story(opened: Opened, jobs: Jobs) -> None:
        submitted = [await submit(jobs, 1, first=n) for n in range(3)]
        await end_of(jobs, submitted[-1].id)
        change = jobs.next_change()
        while [job.id for job in await jobs.list()] != [submitted[-1].id]:
            await change.wait()
            change = jobs.next_change()

    run_jobs(story)


def test_batch_that_is_being_encoded_never_lands_in_another_collection_of_the_name(run_jobs: RunJobs) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        await opened.collections.create("x")
        gate = EncoderGate(opened)
        job = await submit(jobs, 4, collection="x")
        await until(gate.entered.is_set)
        await drop_and_create(opened, "x")
        gate.open()
        ended = await end_of(jobs, job.id)
        assert ((ended.state, ended.reason), ended.n_done) == (DROPPED, 0)
        assert await opened.listed("x") == []
        await until(lambda: opened.files() == [])

    run_jobs(story)


def test_cancelled_job_keeps_what_is_done_and_tries_no_more(
    run_jobs: RunJobs, inputs: Callable[[], list[str]]
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        gate = Gate(opened)
        job, waiting = await submit(jobs, 6), await submit(jobs, 2, first=10)
        gate.permits.release()
        await until_done(jobs, job.id, 2)
        assert (await jobs.cancel(waiting.id)).state == "cancelled"
        await until(lambda: gate.n_waiting > 0)  # the next batch, which is not waited for
        cancelled = await jobs.cancel(job.id)
        assert (cancelled.state, cancelled.n_done, cancelled.n_items) == ("cancelled", 2, 6)
        assert await opened.listed() == ["i00", "i01"]
        assert inputs() == []
        assert [one.index for one in await jobs.outcomes(job.id, -1, 10)] == [0, 1]

    run_jobs(story)


def test_batch_that_is_being_written_when_its_job_is_cancelled_is_written(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        put, begun, end = opened.records.writer.put, asyncio.Event(), asyncio.Event()

        async def slow(*args: Any, **options: Any) -> Any:
            begun.set()
            await end.wait()
            return await put(*args, **options)

        monkeypatch.setattr(opened.records.writer, "put", slow)
        job = await submit(jobs, 4)
        await begun.wait()
        cancelling = asyncio.create_task(jobs.cancel(job.id))
        await asyncio.sleep(0.05)
        assert not cancelling.done()
        end.set()
        assert ((await cancelling).state, (await cancelling).n_done) == ("cancelled", 2)
        assert await opened.listed() == ["i00", "i01"]

    run_jobs(story)


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "runs"])
def test_job_stops_although_its_cancelling_cannot_be_recorded_and_says_so_until_it_can(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        async def full(*args: Any, **options: Any) -> Any:
            raise StoreFull("no space is left")

        disk = Disk(monkeypatch, StoreFull("no space is left"))
        with monkeypatch.context() as patched:
            patched.setattr(opened.records.writer, "put", full)
            first, second = await submit(jobs, 2), await submit(jobs, 2, first=10)
            await stalled_job(jobs, first.id)
            id = second.id if waits else first.id
            for _ in range(2):  # asking again tries again
                with pytest.raises(
                    StoreFull, match=r"has stopped, but .* not be recorded yet: no space is left"
                ):
                    await jobs.cancel(id)
            seen = await jobs.get(id)
            assert (seen.state, seen.n_done, seen.finished_at is None) == ("cancelled", 0, False)
            assert "could not be recorded yet: no space is left" in seen.reason
            found = await SqlJobs(opened.records.threads).find(id)
            assert found is not None
            assert found.state == "queued"
        disk.n_times = 0
        other = await end_of(jobs, first.id if waits else second.id)
        assert (other.state, other.n_done) == ("done", 2)
        ended = await once(jobs, id, lambda job: job.reason == "")
        assert ended.state == "cancelled"
        assert await opened.listed() == (["i00", "i01"] if waits else ["i10", "i11"])

    run_jobs(story)


def test_job_that_is_done_on_a_read_only_disk_ends_when_it_takes_writes_again(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch, inputs: Callable[[], list[str]]
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        disk = Disk(monkeypatch, StoreReadOnly("the disk takes no writes"))
        job = await submit(jobs, 2)
        seen = await stalled_job(jobs, job.id)
        assert (seen.state, seen.n_done, seen.reason) == ("running", 2, "the disk takes no writes")
        assert inputs() == [job.id]
        disk.n_times = 0
        assert (await end_of(jobs, job.id)).state == "done"

    run_jobs(story)


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


def test_job_whose_collection_is_gone_and_made_again_never_fills_it(run: RunJobs, interrupted: Job) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        await opened.collections.drop("pets")
        await opened.collections.create("pets")
        assert (await end_of(jobs, interrupted.id)).state == "failed"
        assert await opened.listed("pets") == []

    run(story, model=OTHER)

"""Jobs that end for outside reasons: cancelled, collection dropped or renamed, disk full."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.files.job_files import JobFile
from diptych.adapters.sqlite.jobs import SqliteJobs
from diptych.core.job import Job
from diptych.core.jobs import service as jobs_module
from diptych.core.jobs.service import Jobs
from diptych.core.types import CollectionChange
from diptych.errors import Conflict, NotFound, Overloaded, StoreError, StoreFull, StoreReadOnly
from integration.job_parts import Gate, RunJobs, end_of, job_stories, once, stalled_job, submit, until_done
from integration.store_parts import EncoderGate, Opened, writes_held_up
from unit.core.core_fakes import FakeMetrics, until

DROPPED = ("failed", "collection 'x' was dropped")


@pytest.fixture
def inputs(tmp_path: Path) -> Callable[[], list[str]]:
    return lambda: sorted(path.name for path in (tmp_path / "data" / "jobs").iterdir())


class Disk:
    """Takes the end of no job while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: StoreError, n_times: int = 10**9) -> None:
        self.n_times = n_times
        finish = SqliteJobs.finish

        async def refuse(store: SqliteJobs, *args: Any) -> None:
            if self.n_times > 0:
                self.n_times -= 1
                raise error
            await finish(store, *args)

        monkeypatch.setattr(SqliteJobs, "finish", refuse)
        monkeypatch.setattr(jobs_module, "PAUSE_S", 0.01)


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


def test_batch_about_to_be_added_never_goes_to_another_collection_of_the_name(
    run_jobs: RunJobs,
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        gate = Gate(opened)
        await opened.collections.create("x")
        job = await submit(jobs, 6, collection="x")
        gate.permits.release()
        await until_done(jobs, job.id, 2)
        await until(lambda: gate.n_waiting > 0)
        await drop_and_create(opened, "x")
        for _ in range(3):
            gate.permits.release()
        ended = await end_of(jobs, job.id)
        assert ((ended.state, ended.reason), ended.n_done) == (DROPPED, 2)
        assert await opened.listed("x") == []
        assert opened.files() == []

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


def test_batch_that_waits_for_room_never_lands_in_another_collection_of_the_name(run_jobs: RunJobs) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        await opened.collections.create("x")
        add, refused = opened.collections.add_many, asyncio.Event()

        async def busy(*args: Any, **options: Any) -> Any:
            if not refused.is_set():
                await drop_and_create(opened, "x")
                refused.set()
                raise Overloaded("full", retry_after_s=0.01)
            return await add(*args, **options)

        opened.collections.add_many = busy  # type: ignore[method-assign]
        ended = await end_of(jobs, (await submit(jobs, 2, collection="x")).id)
        assert (ended.state, ended.reason) == DROPPED
        assert await opened.listed("x") == []

    run_jobs(story)


def test_collection_is_not_renamed_under_a_job_and_an_absent_one_gets_none(
    run_jobs: RunJobs, inputs: Callable[[], list[str]]
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        gate = Gate(opened)
        with pytest.raises(NotFound):
            await submit(jobs, 1, collection="absent")
        job = await submit(jobs, 1)
        with pytest.raises(Conflict, match="a job adds to collection 'default': wait for its end, or cancel"):
            await opened.collections.change("default", CollectionChange(name="other"))
        gate.permits.release()
        await end_of(jobs, job.id)
        await opened.collections.change("default", CollectionChange(name="other"))
        assert await opened.listed("other") == ["i00"]
        assert inputs() == []

    run_jobs(story)


def test_change_of_name_and_more_that_a_job_forestalls_changes_nothing_at_all(run_jobs: RunJobs) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        gate, before = Gate(opened), await opened.collections.get("default")
        change = CollectionChange(name="other", keep="none")
        async with writes_held_up(opened):
            changing = asyncio.create_task(opened.collections.change("default", change))
            await until(lambda: opened.write_queue.n_open == 2)
            job = await submit(jobs, 1)
        with pytest.raises(Conflict, match="a job adds to collection 'default'"):
            await changing
        assert await opened.collections.list() == [before]
        (kept,) = await opened.records.catalogue.list()
        assert (kept.name, kept.keep) == ("default", before.keep)
        gate.permits.release()
        await end_of(jobs, job.id)
        changed = await opened.collections.change("default", change)
        assert (changed.name, changed.keep) == ("other", "none")

    run_jobs(story)


@pytest.mark.parametrize("again", [False, True], ids=["", "and another has its name"])
def test_job_whose_collection_is_renamed_while_it_is_submitted_is_never_filed_under_the_old_name(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch, inputs: Callable[[], list[str]], again: bool
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        finish, entered, gate = JobFile.finish, asyncio.Event(), asyncio.Event()

        async def gated(job_input: JobFile) -> None:
            entered.set()
            await gate.wait()
            await finish(job_input)

        monkeypatch.setattr(JobFile, "finish", gated)
        submitting = asyncio.create_task(submit(jobs, 1))
        await entered.wait()
        await opened.collections.change("default", CollectionChange(name="other"))
        if again:
            await opened.collections.create("default")
        gate.set()
        if again:  # accepted after that one was there, which it goes to
            assert (await end_of(jobs, (await submitting).id)).state == "done"
            assert await opened.listed() == ["i00"]
        else:
            with pytest.raises(NotFound, match="no collection named 'default'"):
                await submitting
            assert await jobs.list() == []
        assert inputs() == []
        assert await opened.listed("other") == []

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
def test_on_a_full_disk_the_input_of_a_cancelled_job_makes_room_for_its_end(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch, inputs: Callable[[], list[str]], waits: bool
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        gate = Gate(opened)
        first, second = await submit(jobs, 2), await submit(jobs, 2, first=10)
        await until(lambda: gate.n_waiting > 0)
        Disk(monkeypatch, StoreFull("no space is left"), n_times=1)
        assert (await jobs.cancel(second.id if waits else first.id)).state == "cancelled"
        assert inputs() == [first.id if waits else second.id]

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
            found = await SqliteJobs(opened.records.threads).find(id)
            assert found is not None
            assert found.state == "queued"
        disk.n_times = 0
        other = await end_of(jobs, first.id if waits else second.id)
        assert (other.state, other.n_done) == ("done", 2)
        ended = await once(jobs, id, lambda job: job.reason == "")
        assert ended.state == "cancelled"
        assert await opened.listed() == (["i00", "i01"] if waits else ["i10", "i11"])

    run_jobs(story)


def test_cancelled_job_whose_end_was_never_recorded_adds_nothing_after_a_restart(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[Job] = []

    async def before(opened: Opened, jobs: Jobs) -> None:
        Gate(opened)
        await submit(jobs, 1)
        known.append(await submit(jobs, 2, first=10))
        Disk(monkeypatch, StoreFull("no space is left"))
        with pytest.raises(StoreFull):
            await jobs.cancel(known[0].id)

    async def after(opened: Opened, jobs: Jobs) -> None:
        ended = await end_of(jobs, known[0].id)
        assert (ended.state, ended.n_done) == ("failed", 0)
        assert "the input of the job is gone" in ended.reason
        assert await opened.listed() == ["i00"]

    run_jobs(before)
    monkeypatch.undo()
    run_jobs(after)


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


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StoreFull("no space is left"), "disk_full"), (StoreReadOnly("no writes"), "disk_read_only")],
)
def test_every_try_of_a_job_that_the_disk_refuses_is_counted(
    model_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: StoreError, reason: str
) -> None:
    metrics = FakeMetrics()

    async def story(opened: Opened, jobs: Jobs) -> None:
        disk = Disk(monkeypatch, error)
        job = await submit(jobs, 2)
        await until(lambda: metrics.rejected[reason] >= 2)
        disk.n_times = 0
        assert (await end_of(jobs, job.id)).state == "done"

    job_stories(model_repo, tmp_path / "data", metrics)(story)
    assert metrics.rejected.keys() == {reason}


def test_end_is_reported_although_old_jobs_cannot_be_forgotten(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        async def refuse(store: SqliteJobs, keep: int) -> None:
            raise StoreFull("no space is left")

        monkeypatch.setattr(SqliteJobs, "forget", refuse)
        for n in range(2):
            assert (await end_of(jobs, (await submit(jobs, 1, first=n)).id)).state == "done"

    run_jobs(story)


def test_many_ended_jobs_of_one_collection_displace_none_of_others(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        monkeypatch.setattr(jobs_module, "MAX_ENDED", 4)
        await opened.collections.create("x")
        quiet = [await ended(jobs, n, "x") for n in range(2)]
        busy = [await ended(jobs, n) for n in range(6)]
        change = jobs.next_change()
        if len(await jobs.list()) > 4:  # one is forgotten right after the end of the last
            await change.wait()
        assert {job.id for job in await jobs.list()} == {*quiet, *busy[-2:]}
        assert len(await jobs.outcomes(quiet[0], -1, 9)) == 1

    async def ended(jobs: Jobs, n: int, collection: str = "default") -> str:
        return (await end_of(jobs, (await submit(jobs, 1, first=n, collection=collection)).id)).id

    run_jobs(story)


def test_ended_job_goes_with_its_collection_to_the_new_name(run_jobs: RunJobs) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        job = await end_of(jobs, (await submit(jobs, 1)).id)
        await opened.collections.change("default", CollectionChange(name="other"))
        await opened.collections.create("default")
        assert (await jobs.get(job.id)).collection == "other"
        assert [one.collection for one in await jobs.list()] == ["other"]

    run_jobs(story)


def test_ended_job_of_a_dropped_collection_is_none_of_one_that_is_renamed_to_its_name(
    run_jobs: RunJobs,
) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        await opened.collections.create("x")
        gone = await end_of(jobs, (await submit(jobs, 1, collection="x")).id)
        kept = await end_of(jobs, (await submit(jobs, 1)).id)
        await opened.collections.drop("x")
        assert (await jobs.get(gone.id)).collection == "x"
        await opened.collections.change("default", CollectionChange(name="x"))
        found = {one.id: one.collection for one in await jobs.list()}
        assert found == {gone.id: "x (dropped)", kept.id: "x"}

    run_jobs(story)

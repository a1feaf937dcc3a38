"""A job knows what it has added, whenever it is stopped: nothing deleted or changed returns."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from diptych.adapters.sqlite.jobs import SqliteJobs, record
from diptych.adapters.sqlite.store import DATABASE
from diptych.core.job import Job, JobItem
from diptych.core.jobs import service as jobs_module
from diptych.core.jobs.service import Jobs
from diptych.core.types import AddOutcome, NewImage
from diptych.errors import StoreError, TooLarge
from integration.job_parts import Gate, RunJobs, end_of, stalled_job, submit, until_done
from integration.store_parts import Opened, tiny_png, writes_held_up
from unit.core.core_fakes import until

Outcomes = list[tuple[int, str | None, str]]


class StopsAfterAdds:
    """Adds come to their ends, and nobody hears of it: as if the server were killed there."""

    def __init__(self, opened: Opened) -> None:
        self.n_added = 0
        self._add = opened.collections.add_many
        opened.collections.add_many = self._never_returns  # type: ignore[method-assign]

    async def _never_returns(self, *args: Any, **options: Any) -> Any:
        self.n_added += len((await self._add(*args, **options)).outcomes)
        await asyncio.Event().wait()

    async def until_added(self, n: int) -> None:
        await until(lambda: self.n_added >= n)


async def outcomes(jobs: Jobs, id: str) -> Outcomes:
    return [(one.index, one.id, one.status) for one in await jobs.outcomes(id, -1, 100)]


def test_image_that_was_deleted_before_its_job_was_killed_does_not_return(run_jobs: RunJobs) -> None:
    known: list[Job] = []

    async def before(opened: Opened, jobs: Jobs) -> None:
        stops = StopsAfterAdds(opened)
        known.append(await submit(jobs, 3))
        await stops.until_added(2)
        await opened.collections.images.delete("default", "i00")

    async def after(opened: Opened, jobs: Jobs) -> None:
        assert (await end_of(jobs, known[0].id)).counts == {"created": 3}
        assert await opened.listed() == ["i01", "i02"]

    run_jobs(before)
    run_jobs(after)


def test_image_that_was_changed_before_its_job_was_killed_stays_changed(run_jobs: RunJobs) -> None:
    known: list[Job] = []

    async def before(opened: Opened, jobs: Jobs) -> None:
        await opened.collections.add_many(
            "default", [NewImage(tiny_png(90 + i), f"i{i:02}") for i in range(2)]
        )
        add = opened.collections.add_many
        stops = StopsAfterAdds(opened)
        known.append(await submit(jobs, 2, replace=True))
        await stops.until_added(2)
        await opened.collections.images.patch("default", "i00", {"by": "hand"})
        await add("default", [NewImage(tiny_png(50), "i01", {"n": 50})], replace=True)

    async def after(opened: Opened, jobs: Jobs) -> None:
        assert (await end_of(jobs, known[0].id)).counts == {"replaced": 2}
        patched, replaced = await opened.collections.images.find("default", ["i00", "i01"])
        assert patched.metadata == {"n": 0, "by": "hand"}
        assert replaced.metadata == {"n": 50}
        assert await opened.collections.images.original("default", "i01") == (tiny_png(50), "image/png")

    run_jobs(before)
    run_jobs(after)


def test_image_that_a_job_added_while_it_was_stopped_keeps_its_file(run_jobs: RunJobs) -> None:
    known: list[Job] = []

    async def before(opened: Opened, jobs: Jobs) -> None:
        await opened.add("default", tiny_png(0), "same")
        gate = Gate(opened)
        known.append(await submit(jobs, 1))
        await until(lambda: gate.n_waiting == 1)
        async with writes_held_up(opened):
            deleting = asyncio.create_task(opened.collections.images.delete("default", "same"))
            await asyncio.sleep(0)  # it has its place in the queue
            gate.permits.release()
            await until(lambda: opened.write_queue.n_open == 3)  # its row waits, too
            stopping = asyncio.create_task(jobs.close())
            await asyncio.sleep(0.05)
        await asyncio.gather(deleting, stopping)

    async def after(opened: Opened, jobs: Jobs) -> None:
        assert (await end_of(jobs, known[0].id)).counts == {"created": 1}
        assert await opened.listed() == ["i00"]
        assert await opened.collections.images.original("default", "i00") == (tiny_png(0), "image/png")

    run_jobs(before)
    run_jobs(after)


def test_outcomes_that_come_with_no_row_are_kept_in_their_order_too(run_jobs: RunJobs) -> None:
    known: list[Job] = []
    bad = TooLarge("image has 9 bytes, limit is 8")

    async def before(opened: Opened, jobs: Jobs) -> None:
        await opened.add("default", tiny_png(1), "there")
        await opened.add("default", tiny_png(2), "taken")
        stops = StopsAfterAdds(opened)
        async with jobs.receiving() as job_input:
            items = [JobItem(0, 0, 0, error=bad)]
            for payload, id in ((tiny_png(1), "there"), (tiny_png(3), "taken"), (b"no image", "broken")):
                items.append(JobItem(len(items), job_input.n_bytes, len(payload), id))
                await job_input.write(payload)
            known.append(await jobs.submit(job_input, "default", items, replace=False))
        await stops.until_added(3)

    async def after(opened: Opened, jobs: Jobs) -> None:
        job = await end_of(jobs, known[0].id)
        assert job.counts == {"failed": 3, "unchanged": 1}
        assert await outcomes(jobs, job.id) == [
            (0, None, "failed"),
            (1, "there", "unchanged"),
            (2, "taken", "failed"),
            (3, "broken", "failed"),
        ]
        assert str((await jobs.outcomes(job.id, -1, 1))[0].error) == str(bad)

    run_jobs(before, max_batch=4)
    run_jobs(after)


def test_rows_without_their_outcomes_are_not_kept(run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[Job] = []

    async def before(opened: Opened, jobs: Jobs) -> None:
        def refuse(*args: Any) -> None:
            raise StoreError("no outcome can be written")

        monkeypatch.setattr("diptych.adapters.sqlite.row_writer.record", refuse)
        known.append(await submit(jobs, 2))
        await stalled_job(jobs, known[0].id)
        assert await opened.listed() == []
        assert opened.files() == []

    async def after(opened: Opened, jobs: Jobs) -> None:
        assert (await end_of(jobs, known[0].id)).counts == {"created": 2}

    run_jobs(before)
    monkeypatch.undo()
    run_jobs(after)


def test_image_is_reported_when_it_can_be_found_and_not_before(run_jobs: RunJobs) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        gate, entered = asyncio.Event(), asyncio.Event()
        (index,) = opened.indexes
        apply = index.apply

        async def gated(*args: Any) -> None:
            entered.set()
            await gate.wait()
            await apply(*args)

        index.apply = gated  # type: ignore[method-assign]
        job = await submit(jobs, 3)
        await entered.wait()
        assert await opened.listed() == ["i00", "i01"]  # committed
        seen = await jobs.get(job.id)
        assert (seen.state, seen.n_done, await outcomes(jobs, job.id)) == ("running", 0, [])
        assert [one.n_done for one in await jobs.list()] == [0]
        gate.set()
        await until_done(jobs, job.id, 2)
        assert await outcomes(jobs, job.id) == [(0, "i00", "created"), (1, "i01", "created")]
        assert (await end_of(jobs, job.id)).counts == {"created": 3}

    run_jobs(story)


def test_items_that_never_fit_together_have_their_outcomes_in_order(run_jobs: RunJobs) -> None:
    async def story(opened: Opened, jobs: Jobs) -> None:
        add, told = opened.collections.add_many, list[list[int]]()
        stored = SqliteJobs(opened.records.threads)

        async def small(collection: str, images: Any, **options: Any) -> Any:
            if len(images) > 1 or any(image.id == "i02" for image in images):
                raise TooLarge("the queue holds less")
            added = await add(collection, images, **options)
            told.append([one.index for one in await stored.outcomes(job.id, -1, 100)])
            return added

        opened.collections.add_many = small  # type: ignore[method-assign]
        job = await submit(jobs, 4)
        assert (await end_of(jobs, job.id)).counts == {"created": 3, "failed": 1}
        assert told == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]

    run_jobs(story, max_batch=4)


def test_batch_that_fails_behind_its_commit_is_not_added_again(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "PAUSE_S", 0.01)

    async def story(opened: Opened, jobs: Jobs) -> None:
        await opened.collections.add_many(
            "default", [NewImage(tiny_png(90 + i), f"i{i:02}") for i in range(4)]
        )
        remove, failed = opened.images.remove, asyncio.Event()

        async def refuse_once(sha256s: Any) -> None:
            if not failed.is_set():
                failed.set()
                raise StoreError("a file could not be removed")
            await remove(sha256s)

        monkeypatch.setattr(opened.images, "remove", refuse_once)
        job = await submit(jobs, 4, replace=True)
        await failed.wait()
        await opened.collections.images.delete("default", "i00")
        assert (await end_of(jobs, job.id)).counts == {"replaced": 4}
        assert await opened.listed() == ["i01", "i02", "i03"]

    run_jobs(story)


def test_first_outcome_of_an_item_is_the_one_that_counts(run_jobs: RunJobs) -> None:
    """An add that failed behind its commit is tried again, and told of again."""

    async def story(opened: Opened, jobs: Jobs) -> None:
        gate = Gate(opened)
        job = await submit(jobs, 1)
        await until(lambda: gate.n_waiting > 0)
        c = opened.collections["default"].number
        with closing(sqlite3.connect(opened.data_dir / DATABASE)) as db, db:
            record(db, c, job.id, 0, AddOutcome(0, "i00", "created"))
            record(db, c, job.id, 0, AddOutcome(0, "i00", "unchanged"))
            assert db.execute("SELECT status FROM job_items").fetchall() == [("created",)]
        gate.permits.release()

    run_jobs(story)

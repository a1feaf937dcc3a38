"""Jobs over the real adapters: limits, restarts, failing data folders, and that each image is added once."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.files.job_files import JobFiles
from diptych.core.concurrency.fair_queue import acting_for
from diptych.core.job import Job
from diptych.core.jobs import service
from diptych.core.jobs.service import Jobs
from diptych.errors import Overloaded, TooLarge
from integration.job_parts import Gate, RunJobs, end_of, submit, until_done
from integration.store_parts import Opened
from unit.core.core_fakes import until

GONE = "the input of the job is gone (backups have none): send what has no outcome again"


def test_inputs_that_no_job_needs_are_removed_at_the_start(run_jobs: RunJobs, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "jobs"
    folder.mkdir(parents=True)
    (folder / ".tmp-half").write_bytes(b"x")
    (folder / "unknown").write_bytes(b"x")

    async def story(opened: Opened, running: Jobs) -> None:
        assert list(folder.iterdir()) == []

    run_jobs(story)


def test_job_whose_input_is_gone_fails_and_says_so(run_jobs: RunJobs, tmp_path: Path) -> None:
    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        gate.permits.release()
        await submit(running, 1, first=50)
        job = await submit(running, 2)
        (tmp_path / "data" / "jobs" / job.id).unlink()
        ended = await end_of(running, job.id)
        assert (ended.state, ended.reason) == ("failed", GONE)

    run_jobs(story)


def test_full_queue_is_waited_for_and_what_never_fits_fails_alone(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened, running: Jobs) -> None:
        add, calls = opened.collections.add_many, []

        async def busy(collection: str, images: Any, **options: Any) -> Any:
            calls.append(len(images))
            if len(calls) == 1:
                raise Overloaded("full", retry_after_s=0.01)
            if any(image.id == "i01" for image in images):
                raise TooLarge("the queue holds less")
            return await add(collection, images, **options)

        monkeypatch.setattr(opened.collections, "add_many", busy)
        ended = await end_of(running, (await submit(running, 3)).id)
        assert ended.counts == {"created": 2, "failed": 1}
        assert calls == [2, 2, 1, 1, 0, 1]  # without images: only what became of i01
        outcome = (await running.outcomes(ended.id, 0, 1))[0]
        assert (outcome.id, type(outcome.error), str(outcome.error)) == (
            "i01",
            TooLarge,
            "the queue holds less",
        )

    run_jobs(story)


def test_key_with_all_its_jobs_leaves_room_to_others_and_shares_turns_with_them(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 3)
    monkeypatch.setattr(service, "MAX_WAITING_OF_ALL", 5)

    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        with acting_for("greedy"):
            greedy = [await submit(running, 1, first=n) for n in range(3)]
            with pytest.raises(Overloaded, match="3 jobs have not ended, which is the limit of a key"):
                await submit(running, 1)
        with acting_for("modest"):
            modest = await submit(running, 1, first=3)
            await submit(running, 1, first=4)
            with pytest.raises(Overloaded, match="5 jobs of all keys have not ended"):
                await submit(running, 1)
        for _ in range(5):
            gate.permits.release()
        await end_of(running, modest.id)
        assert [(await running.get(job.id)).has_ended for job in greedy] == [True, False, False]

    run_jobs(story)


def test_inputs_are_bounded_in_bytes_together(tmp_path: Path) -> None:
    async def story() -> None:
        inputs = JobFiles(tmp_path, max_bytes=10)
        first, second = await inputs.create("first"), await inputs.create("second")
        await first.write(b"x" * 6)
        with pytest.raises(Overloaded, match="6 bytes together, limit is 10"):
            await second.write(b"x" * 5)
        await second.write(b"x" * 4)
        await first.finish()
        await second.close()
        await JobFiles(tmp_path, max_bytes=9).keep_only({"first"})
        third = await JobFiles(tmp_path, max_bytes=9).create("third")
        with pytest.raises(Overloaded):
            await third.write(b"x" * 4)
        await third.close()
        await inputs.remove("first")
        fourth = await inputs.create("fourth")
        await fourth.write(b"x" * 10)
        await fourth.close()

    asyncio.run(story())


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

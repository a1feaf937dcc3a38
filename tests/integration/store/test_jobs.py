"""Jobs over the real adapters: order, cancelling, restarts, and data folders that fail."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.files.job_files import JobFiles
from diptych.core.concurrency.fair_queue import acting_for
from diptych.core.job import Job, JobItem
from diptych.core.jobs import runner, service
from diptych.core.jobs.service import Jobs
from diptych.errors import NotFound, Overloaded, StoreError, TooLarge
from integration.job_parts import Gate, RunJobs, end_of, stalled_job, submit, until_done
from integration.store_parts import Opened, tiny_png
from unit.core.core_fakes import until

GONE = "the input of the job is gone (backups have none): send what has no outcome again"


async def until_forgotten(running: Jobs, id: str) -> None:
    async with asyncio.timeout(20):
        while id in [job.id for job in await running.list()]:
            pass
    with pytest.raises(NotFound):
        await running.get(id)


def test_jobs_run_in_the_order_of_their_coming(run_jobs: RunJobs) -> None:
    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        first, second = await submit(running, 3), await submit(running, 3, first=2)
        await until(lambda: gate.n_waiting > 0)
        assert [job.state for job in await running.list()] == ["queued", "running"]
        for _ in range(4):
            gate.permits.release()
        assert (await end_of(running, second.id)).counts == {"created": 2, "unchanged": 1}
        assert (await end_of(running, first.id)).counts == {"created": 3}
        assert await opened.listed() == ["i00", "i01", "i02", "i03", "i04"]

    run_jobs(story)


def test_job_goes_on_after_a_restart_where_it_was(run_jobs: RunJobs) -> None:
    known: list[Job] = []

    async def before(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        known.extend([await submit(running, 5), await submit(running, 2, first=20)])
        gate.permits.release()
        await until_done(running, known[0].id, 2)
        await opened.collections.images.delete("default", "i01")  # acknowledged, and deleted since

    async def after(opened: Opened, running: Jobs) -> None:
        assert (await end_of(running, known[1].id)).state == "done"
        first = await running.get(known[0].id)
        assert (first.state, first.counts) == ("done", {"created": 5})
        assert await opened.listed() == ["i00", "i02", "i03", "i04", "i20", "i21"]

    run_jobs(before)
    run_jobs(after)


def test_inputs_that_no_job_needs_are_removed_at_the_start(run_jobs: RunJobs, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "jobs"
    folder.mkdir(parents=True)
    (folder / ".tmp-half").write_bytes(b"x")
    (folder / "unknown").write_bytes(b"x")

    async def story(opened: Opened, running: Jobs) -> None:
        assert list(folder.iterdir()) == []

    run_jobs(story)


def test_end_is_reported_once_nothing_of_the_job_is_left(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened, running: Jobs) -> None:
        entered, gate, remove = asyncio.Event(), asyncio.Event(), JobFiles.remove

        async def gated(files: JobFiles, id: str) -> None:
            entered.set()
            await gate.wait()
            await remove(files, id)

        monkeypatch.setattr(JobFiles, "remove", gated)
        job = await submit(running, 2)
        await entered.wait()
        seen = await running.get(job.id)
        assert (seen.state, seen.finished_at, seen.n_done) == ("running", None, 2)
        gate.set()
        assert (await end_of(running, job.id)).state == "done"

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


def test_job_waits_while_the_data_folder_fails_and_tells_why(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PAUSE_S", 0.01)

    async def story(opened: Opened, running: Jobs) -> None:
        broken, put = [True], opened.records.writer.put

        async def failing(*args: Any, **options: Any) -> Any:
            if broken:
                raise StoreError("the disk is full")
            return await put(*args, **options)

        monkeypatch.setattr(opened.records.writer, "put", failing)
        job = await submit(running, 2)
        told = await stalled_job(running, job.id)
        assert (told.state, told.reason, told.n_done) == ("running", "the disk is full", 0)
        broken.clear()
        ended = await end_of(running, job.id)
        assert (ended.state, ended.reason, ended.counts) == ("done", "", {"created": 2})

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


def test_jobs_are_bounded_in_number_and_old_ones_forgotten(
    run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 2)
    monkeypatch.setattr(service, "MAX_ENDED", 1)

    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        first = await submit(running, 1)
        async with running.receiving() as slow, running.receiving():  # what comes in takes no place
            second = await submit(running, 1, first=1)
            with pytest.raises(Overloaded, match="2 jobs have not ended"):
                async with running.receiving():
                    pass
            await slow.write(tiny_png(2))
            late = [JobItem(0, 0, slow.n_bytes)]
            with pytest.raises(Overloaded, match="2 jobs have not ended"):
                await running.submit(slow, "default", late, replace=False)
        gate.permits.release()
        gate.permits.release()
        await end_of(running, second.id)
        await until_forgotten(running, first.id)
        assert await running.outcomes(first.id, -1, 10) == []
        assert list((tmp_path / "data" / "jobs").iterdir()) == []

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


def test_batches_are_bounded_in_bytes(run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_BATCH_BYTES", len(tiny_png(0)) + 1)

    async def story(opened: Opened, running: Jobs) -> None:
        sizes: list[int] = []
        add = opened.collections.add_many

        async def counted(collection: str, images: Any, **options: Any) -> Any:
            sizes.append(len(images))
            return await add(collection, images, **options)

        monkeypatch.setattr(opened.collections, "add_many", counted)
        await end_of(running, (await submit(running, 3)).id)
        assert sizes == [1, 1, 1]

    run_jobs(story)

"""Jobs over the real adapters: order, cancelling, restarts, and data folders that fail."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.job_files import JobFiles
from diptych.adapters.sqlite_jobs import SqliteJobs
from diptych.core import job_runner, jobs
from diptych.core.job import Job, JobItem
from diptych.core.jobs import Jobs
from diptych.errors import Conflict, NotFound, Overloaded, StoreError, TooLarge
from integration.store_parts import Opened, tiny_png
from support.tiny_bundle import write_tiny_bundle
from unit.core.core_fakes import until

GONE = "the input of the job is gone (backups have none): send what has no outcome again"
Story = Callable[[Opened, Jobs], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model_repo")
    write_tiny_bundle(root)
    return root


@pytest.fixture
def run(model_repo: Path, tmp_path: Path) -> Callable[..., None]:
    def run_story(story: Story, *, change: Callable[[Opened], None] = lambda opened: None) -> None:
        async def whole() -> None:
            async with Opened(model_repo, tmp_path / "data", 1) as opened:
                change(opened)
                running = Jobs(
                    collections=opened.collections,
                    store=SqliteJobs(opened.records.threads),
                    inputs=JobFiles(tmp_path / "data"),
                    max_batch=2,
                )
                await running.open()
                try:
                    await story(opened, running)
                finally:
                    await running.close()

        asyncio.run(whole())

    return run_story


class Gate:
    """Lets adds through one by one."""

    def __init__(self, opened: Opened) -> None:
        self.permits = asyncio.Semaphore(0)
        self.n_waiting = 0
        self._add = opened.collections.add_many
        opened.collections.add_many = self.add_many  # type: ignore[method-assign]

    async def add_many(self, *args: Any, **options: Any) -> Any:
        self.n_waiting += 1
        await self.permits.acquire()
        self.n_waiting -= 1
        return await self._add(*args, **options)


async def submit(running: Jobs, n: int, first: int = 0, collection: str = "default", **options: Any) -> Job:
    async with running.receiving() as job_input:
        items = []
        for i in range(first, first + n):
            payload = tiny_png(i)
            items.append(JobItem(i - first, job_input.n_bytes, len(payload), f"i{i:02}", {"n": i}))
            await job_input.write(payload)
        return await running.submit(job_input, collection, items, **{"replace": False} | options)


async def end_of(running: Jobs, id: str) -> Job:
    async with asyncio.timeout(20):
        while True:
            change = running.next_change()
            job = await running.get(id)
            if job.has_ended:
                return job
            await change.wait()


async def until_done(running: Jobs, id: str, n_done: int) -> None:
    async with asyncio.timeout(20):
        while True:
            change = running.next_change()
            if (await running.get(id)).n_done >= n_done:
                return
            await change.wait()


async def until_forgotten(running: Jobs, id: str) -> None:
    async with asyncio.timeout(20):
        while id in [job.id for job in await running.list()]:
            pass
    with pytest.raises(NotFound):
        await running.get(id)


async def listed(opened: Opened) -> list[str]:
    page, _ = await opened.collections.list_images("default", None, 100)
    return [image.id for image in page]


def test_jobs_run_in_the_order_of_their_coming(run: Callable[..., None]) -> None:
    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        first, second = await submit(running, 3), await submit(running, 3, first=2)
        await until(lambda: gate.n_waiting > 0)
        assert [job.state for job in await running.list()] == ["queued", "running"]
        for _ in range(4):
            gate.permits.release()
        assert (await end_of(running, second.id)).counts == {"created": 2, "unchanged": 1}
        assert (await end_of(running, first.id)).counts == {"created": 3}
        assert await listed(opened) == ["i00", "i01", "i02", "i03", "i04"]

    run(story)


def test_job_that_waits_ends_with_its_collection_and_never_fills_another_of_the_name(
    run: Callable[..., None],
) -> None:
    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        await opened.collections.create("x")
        first, waits = await submit(running, 1), await submit(running, 4, collection="x")
        await until(lambda: gate.n_waiting > 0)
        await opened.collections.drop("x")
        await opened.collections.create("x")
        for _ in range(4):
            gate.permits.release()
        assert (await end_of(running, first.id)).state == "done"
        ended = await end_of(running, waits.id)
        assert (ended.state, ended.reason) == ("failed", "collection 'x' was dropped")
        assert (await opened.collections.list_images("x", None, 100))[0] == []

    run(story)


def test_job_that_runs_ends_with_its_collection_and_fills_no_other_of_the_name(
    run: Callable[..., None],
) -> None:
    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        await opened.collections.create("x")
        job = await submit(running, 6, collection="x")
        gate.permits.release()
        await until_done(running, job.id, 2)
        await until(lambda: gate.n_waiting > 0)
        await opened.collections.drop("x")
        for _ in range(3):
            gate.permits.release()
        ended = await end_of(running, job.id)
        assert (ended.state, ended.n_done) == ("failed", 2)
        assert "'x'" in ended.reason

    run(story)


def test_cancelled_job_keeps_what_is_done_and_tries_no_more(run: Callable[..., None], tmp_path: Path) -> None:
    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        job, waiting = await submit(running, 6), await submit(running, 2, first=10)
        gate.permits.release()
        await until_done(running, job.id, 2)
        assert (await running.cancel(waiting.id)).state == "cancelled"
        cancelling = asyncio.create_task(running.cancel(job.id))
        await until(lambda: gate.n_waiting > 0)
        await asyncio.sleep(0)
        gate.permits.release()  # the batch that is being added is finished
        cancelled = await cancelling
        assert (cancelled.state, cancelled.n_done, cancelled.n_items) == ("cancelled", 4, 6)
        assert await listed(opened) == ["i00", "i01", "i02", "i03"]
        assert list((tmp_path / "data" / "jobs").iterdir()) == []
        assert [one.index for one in await running.outcomes(job.id, -1, 10)] == [0, 1, 2, 3]

    run(story)


def test_job_goes_on_after_a_restart_where_it_was(run: Callable[..., None]) -> None:
    known: list[Job] = []

    async def before(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        known.extend([await submit(running, 5), await submit(running, 2, first=20)])
        gate.permits.release()
        await until_done(running, known[0].id, 2)
        await opened.collections.delete("default", "i01")  # acknowledged, and deleted since

    async def after(opened: Opened, running: Jobs) -> None:
        assert (await end_of(running, known[1].id)).state == "done"
        first = await running.get(known[0].id)
        assert (first.state, first.counts) == ("done", {"created": 5})
        assert await listed(opened) == ["i00", "i02", "i03", "i04", "i20", "i21"]

    run(before)
    run(after)


def test_item_whose_outcome_was_not_written_is_added_again_and_is_unchanged(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[Job] = []

    async def before(opened: Opened, running: Jobs) -> None:
        async def lost(*args: Any) -> None:
            lost_one.set()
            await asyncio.Event().wait()  # until the server is gone

        lost_one = asyncio.Event()
        monkeypatch.setattr(SqliteJobs, "record", lost)
        known.append(await submit(running, 2))
        await lost_one.wait()
        assert await listed(opened) == ["i00", "i01"]

    async def after(opened: Opened, running: Jobs) -> None:
        assert (await end_of(running, known[0].id)).counts == {"unchanged": 2}

    run(before)
    monkeypatch.undo()
    run(after)


def test_inputs_that_no_job_needs_are_removed_at_the_start(run: Callable[..., None], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "jobs"
    folder.mkdir(parents=True)
    (folder / ".tmp-half").write_bytes(b"x")
    (folder / "unknown").write_bytes(b"x")

    async def story(opened: Opened, running: Jobs) -> None:
        assert list(folder.iterdir()) == []

    run(story)


def test_end_is_told_once_nothing_is_left_of_the_job(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
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
        with pytest.raises(Conflict):
            running.require_none("default")
        gate.set()
        assert (await end_of(running, job.id)).state == "done"
        running.require_none("default")

    run(story)


def test_job_whose_input_is_gone_fails_and_says_so(run: Callable[..., None], tmp_path: Path) -> None:
    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        gate.permits.release()
        await submit(running, 1, first=50)
        job = await submit(running, 2)
        (tmp_path / "data" / "jobs" / job.id).unlink()
        ended = await end_of(running, job.id)
        assert (ended.state, ended.reason) == ("failed", GONE)

    run(story)


def test_job_waits_while_the_data_folder_fails_and_tells_why(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PAUSE_S", 0.01)

    async def story(opened: Opened, running: Jobs) -> None:
        broken, put = [True], opened.records.put

        async def failing(*args: Any, **options: Any) -> Any:
            if broken:
                raise StoreError("the disk is full")
            return await put(*args, **options)

        monkeypatch.setattr(opened.records, "put", failing)
        job = await submit(running, 2)
        await until(lambda: running._trouble)
        told = await running.get(job.id)
        assert (told.state, told.reason, told.n_done) == ("running", "the disk is full", 0)
        broken.clear()
        ended = await end_of(running, job.id)
        assert (ended.state, ended.reason, ended.counts) == ("done", "", {"created": 2})

    run(story)


def test_full_queue_is_waited_for_and_what_never_fits_fails_alone(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
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
        assert calls == [2, 2, 1, 1, 1]
        outcome = (await running.outcomes(ended.id, 0, 1))[0]
        assert (outcome.id, type(outcome.error), str(outcome.error)) == (
            "i01",
            TooLarge,
            "the queue holds less",
        )

    run(story)


def test_jobs_are_bounded_in_number_and_old_ones_forgotten(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(jobs, "MAX_WAITING", 2)
    monkeypatch.setattr(jobs, "MAX_ENDED", 1)

    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        first = await submit(running, 1)
        async with running.receiving():
            with pytest.raises(Overloaded, match="2 jobs have not ended"):
                async with running.receiving():
                    pass
        second = await submit(running, 1, first=1)
        gate.permits.release()
        gate.permits.release()
        await end_of(running, second.id)
        await until_forgotten(running, first.id)
        assert await running.outcomes(first.id, -1, 10) == []
        assert list((tmp_path / "data" / "jobs").iterdir()) == []

    run(story)


def test_collection_is_not_renamed_under_a_job_and_an_absent_one_gets_none(run: Callable[..., None]) -> None:
    async def story(opened: Opened, running: Jobs) -> None:
        gate = Gate(opened)
        with pytest.raises(NotFound):
            await submit(running, 1, collection="absent")
        job = await submit(running, 1)
        with pytest.raises(Conflict, match="a job adds to"):
            running.require_none("default")
        gate.permits.release()
        await end_of(running, job.id)
        running.require_none("default")

    run(story)


def test_batches_are_bounded_in_bytes(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_runner, "MAX_BATCH_BYTES", len(tiny_png(0)) + 1)

    async def story(opened: Opened, running: Jobs) -> None:
        sizes: list[int] = []
        add = opened.collections.add_many

        async def counted(collection: str, images: Any, **options: Any) -> Any:
            sizes.append(len(images))
            return await add(collection, images, **options)

        monkeypatch.setattr(opened.collections, "add_many", counted)
        await end_of(running, (await submit(running, 3)).id)
        assert sizes == [1, 1, 1]

    run(story)

"""What any store must do with jobs. Their outcomes come with rows: see `test_contract_of_records`."""

import pytest

from diptych.core.job import Job, JobItem, JobNote, JobOutcome
from diptych.core.types import AddOutcome
from diptych.errors import InvalidValue, NotFound, TooLarge
from integration.store_contract import Ports, Run
from integration.store_contract import opens as opens  # noqa: PLC0414 - a fixture
from integration.store_contract import run as run  # noqa: PLC0414 - a fixture

ITEMS = [
    JobItem(0, 0, 5, "a", {"n": 1}),
    JobItem(1, 5, 7, error=TooLarge("image has 9 bytes, limit is 8"), file="b.jpg"),
    JobItem(2, 12, 3, file="c.jpg"),
]


def job(id: str, collection: str = "c") -> Job:
    return Job(id, collection, False, "queued", len(ITEMS), "now")


async def note(ports: Ports, c: int, id: str, item: int, outcome: AddOutcome) -> None:
    notes = [JobNote(id, item, outcome=outcome)]
    await ports.records.writer.put(c, [], identity="i", replace=False, notes=notes)


def test_items_wait_in_order_until_their_outcomes_are_known(run: Run) -> None:
    async def before(ports: Ports) -> None:
        c, jobs = await ports.created(), ports.jobs
        with pytest.raises(NotFound, match="no collection named 'gone'"):
            await jobs.create(job("none", "gone"), ITEMS)
        await jobs.create(job("one"), ITEMS)
        first, second = await jobs.pending_items("one", 2)
        assert (first, second.n_bytes, second.file) == (ITEMS[0], 7, "b.jpg")
        assert str(second.error) == "image has 9 bytes, limit is 8"
        await note(ports, c, "one", 0, AddOutcome(0, "a", "unchanged", metadata_differs=True))
        bad = InvalidValue("is no image", "image")
        await note(ports, c, "one", 2, AddOutcome(2, None, "failed", bad))
        await note(ports, c, "one", 2, AddOutcome(2, "c", "created"))  # too late

    async def after(ports: Ports) -> None:
        jobs = ports.jobs
        assert [item.number for item in await jobs.pending_items("one", 9)] == [1]
        known, failed = await jobs.outcomes("one", -1, 9)
        assert known == JobOutcome(0, "a", "unchanged", metadata_differs=True)
        assert (failed.index, failed.status, failed.file, str(failed.error)) == (
            2, "failed", "c.jpg", str(InvalidValue("is no image", "image")),
        )  # fmt: skip
        assert [one.index for one in await jobs.outcomes("one", 0, 1)] == [2]
        found = await jobs.find("one")
        assert found is not None
        assert (found.state, found.counts, found.n_done) == ("queued", {"unchanged": 1, "failed": 1}, 2)
        assert await jobs.find("other") is None

    run(before)
    run(after)


def test_end_of_a_job_is_the_first_one(run: Run) -> None:
    async def story(ports: Ports) -> None:
        jobs = ports.jobs
        await ports.created()
        await jobs.create(job("one"), ITEMS)
        await jobs.finish("one", "failed", "the input is gone")
        await jobs.finish("one", "done", "")
        (found,) = await jobs.jobs()
        assert (found.state, found.reason, found.has_ended) == ("failed", "the input is gone", True)
        assert found.finished_at is not None
        assert await jobs.pending_items("one", 9) == []

    run(story)


def test_job_follows_the_name_of_its_collection_and_ends_with_it(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, jobs, catalogue = await ports.created(), ports.jobs, ports.records.catalogue
        await jobs.create(job("old"), ITEMS)
        await jobs.finish("old", "done", "")
        await catalogue.change(c, "d", "original", None)
        await jobs.create(job("new", "d"), ITEMS)
        assert [(one.id, one.collection) for one in await jobs.jobs()] == [("new", "d"), ("old", "d")]
        await catalogue.drop(c)
        new, old = await jobs.jobs()
        assert (new.collection, new.state, new.reason) == ("d", "failed", "collection 'd' was dropped")
        assert (old.collection, old.state) == ("d", "done")
        other = await ports.created("other")
        await catalogue.change(other, "d", "original", None)  # its jobs are not those
        assert [one.collection for one in await jobs.jobs()] == ["d (dropped)", "d (dropped)"]

    run(story)


def test_oldest_jobs_that_have_ended_are_forgotten_and_of_each_collection_one_is_kept(run: Run) -> None:
    async def story(ports: Ports) -> None:
        jobs = ports.jobs
        await ports.created("c")
        await ports.created("d")
        for id, collection in (("d1", "d"), ("c1", "c"), ("c2", "c"), ("c3", "c"), ("open", "c")):
            await jobs.create(job(id, collection), ITEMS)
            if id != "open":
                await jobs.finish(id, "done", "")
        await jobs.forget(3)
        assert [one.id for one in await jobs.jobs()] == ["open", "c3", "c2", "d1"]
        assert await jobs.outcomes("c1", -1, 9) == []

    run(story)

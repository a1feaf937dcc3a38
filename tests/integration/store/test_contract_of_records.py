"""What any store of collections, images and vectors must do."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from diptych.core.collections.metadata.filters import Compare, Eq, Filter
from diptych.core.collections.metadata.ordering import OrderBy, Place
from diptych.core.job import Job, JobItem, JobNote, JobOutcome
from diptych.core.types import AddOutcome, Sizes
from diptych.errors import Conflict, InvalidValue, NotFound, StoreError, TooLarge
from integration.store_contract import DIM, REF, Ports, Run, row
from integration.store_contract import opens as opens  # noqa: PLC0414 - a fixture
from integration.store_contract import run as run  # noqa: PLC0414 - a fixture

BELOW_2 = Compare(("n",), "lt", 2)


def test_number_of_a_collection_is_never_used_again(run: Run) -> None:
    async def story(ports: Ports) -> None:
        catalogue = ports.records.catalogue
        first = await ports.created("c")
        await catalogue.drop(first)
        second = await ports.created("c")
        assert second > first
        with pytest.raises(Conflict, match="there is a collection named 'c' already"):
            await ports.created("c")
        assert [(one.number, one.name) for one in await catalogue.list()] == [(second, "c")]

    run(story)


def test_dropped_collection_is_unknown_at_once_and_removed_part_by_part(run: Run) -> None:
    async def story(ports: Ports) -> None:
        catalogue, rows = ports.records.catalogue, ports.records.rows
        c, other = await ports.created("c"), await ports.created("other")
        keys = await ports.add(c, "a", "b", "d")
        (kept,) = await ports.add(other, "a")
        await catalogue.drop(c)
        assert [one.name for one in await catalogue.list()] == ["other"]
        parts = [await catalogue.clear(c, 2)]
        assert await catalogue.dropped() == [c]
        parts.append(await catalogue.clear(c, 2))
        assert await catalogue.dropped() == []
        assert [list(part.keys) for part in parts] == [list(keys[:2]), list(keys[2:])]
        assert [*await rows.by_key([*keys, kept])] == [kept]
        assert (await catalogue.clear(other, 9)).keys == (), "it was not dropped"

    run(story)


def test_what_is_done_with_a_dropped_collection_is_refused_and_changes_nothing(run: Run) -> None:
    async def story(ports: Ports) -> None:
        records = ports.records
        c, other = await ports.created("c"), await ports.created("other")
        (key,) = await ports.add(other, "a")
        await records.catalogue.drop(c)
        await ports.created("c")  # which has its name
        vectors = np.ones((1, DIM), np.float32)
        for attempt in (
            records.catalogue.change(c, "d", "none", None),
            records.catalogue.drop(c),
            records.catalogue.sizes(c),
            records.rows.get(c, "a"),
            records.rows.find(c, ["a"]),
            records.rows.keys(c),
            records.rows.page(c, None, 9),
            records.rows.page(c, None, 9, BELOW_2),
            records.rows.count(c),
            records.rows.fields(c, None, 9),
            records.rows.same_bytes(c),
            records.rows.contents(c),
            records.filtered.passing(c, BELOW_2),
            records.writer.put(c, [row("a")], identity="i", replace=False),
            records.writer.patch(c, "a", {}, 99),
            records.writer.delete(c, [key]),
            records.vectors.find(c, "a", "i"),
            records.vectors.missing(c, "i"),
            records.vectors.put(c, [key], vectors, "i"),
            ports.change(c),
        ):
            with pytest.raises(NotFound):
                await attempt
        assert [one.n_images for one in await records.catalogue.list()] == [0, 1]

    run(story)


def test_keys_of_another_collection_are_left_alone(run: Run) -> None:
    async def story(ports: Ports) -> None:
        records = ports.records
        c, other = await ports.created("c"), await ports.created("other")
        (key,) = await ports.add(other, "a")
        assert (await records.vectors.put(c, [key], np.ones((1, DIM), np.float32), "x")).keys == []
        await records.writer.delete(c, [key])
        assert await records.rows.keys(other) == [key]
        assert await records.vectors.missing(other, "x") == {key: True}

    run(story)


def test_rows_that_changed_since_they_were_chosen_are_not_deleted(run: Run) -> None:
    async def story(ports: Ports) -> None:
        writer, c = ports.records.writer, await ports.created("c")
        same, patched, embedded, filled, again = await ports.add(c, "s", "p", "e", "f", "a")
        as_of = await ports.records.vectors.last_change(c)
        await writer.patch(c, "p", {"n": 1}, 99)
        await ports.put(c, row("e"), identity="later")
        await ports.records.vectors.put(c, [filled], np.ones((1, DIM), np.float32), "i")
        await ports.put(c, row("a", "other bytes"), replace=True)
        removed = await writer.delete(c, [same, patched, embedded, filled, again], as_of=as_of)
        assert removed.keys == (same,)
        later = await ports.records.vectors.last_change(c)
        assert (await writer.delete(c, [patched, embedded], as_of=later)).keys == (patched, embedded)

    run(story)


def test_record_has_the_name_that_its_collection_has_now(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, other = await ports.created("c"), await ports.created("other")
        (key,) = await ports.add(c, "a")
        await ports.records.catalogue.change(c, "d", "none", None)
        (found,) = (await ports.records.rows.by_key([key])).values()
        assert (found.collection, (await ports.records.rows.get(c, "a")).collection) == ("d", "d")
        with pytest.raises(Conflict):
            await ports.records.catalogue.change(other, "d", "none", None)
        names = [(one.number, one.name, one.keep) for one in await ports.records.catalogue.list()]
        assert names == [(c, "d", "none"), (other, "other", "original")]

    run(story)


def test_sizes_are_those_of_the_kept_files_by_number(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, empty = await ports.created("c"), await ports.created("empty")
        await ports.put(c, row("a", "f00"), row("b", "f00"), row("x"))
        assert await ports.records.catalogue.sizes() == {c: Sizes(3, 6), empty: Sizes()}
        assert await ports.records.catalogue.sizes(c) == {c: Sizes(3, 6)}

    run(story)


def test_failed_write_leaves_nothing_not_even_a_change_number(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        before = await ports.change(c)
        bad = row("b")
        object.__setattr__(bad, "n_bytes", 1.5)  # which a store takes no more than the type does
        with pytest.raises(StoreError):
            await ports.put(c, row("a"), bad)
        assert await ports.records.rows.page(c, None, 10) == []
        assert await ports.change(c) == before
        (result,) = await ports.put(c, row("a"))
        assert result.status == "created"

    run(story)


def test_each_write_of_a_collection_has_the_next_change_number(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, other = await ports.created("c"), await ports.created("other")
        assert await ports.change(c) == 1
        writer, vectors = ports.records.writer, ports.records.vectors
        written = await writer.put(c, [row("a"), row("b")], identity="i", replace=False)
        assert written.change == 2
        (a, b) = [one.key for one in written.results]
        assert (await writer.put(c, [row("a")], identity="i", replace=False)).change == 3
        assert (await vectors.put(c, [a], np.ones((1, DIM), np.float32), "j")).change == 4
        await writer.patch(c, "a", {"n": 1}, 99)
        assert (await ports.records.filtered.passing(c, BELOW_2)).change == 5
        assert (await writer.delete(c, [b])).change == 6
        await writer.put_hashes({a: b"hash"})
        await ports.records.catalogue.change(c, "d", "none", None)
        assert (await ports.change(c), await ports.change(other)) == (6, 1)

    run(story)


def test_row_that_is_there_has_an_embedding_of_each_identity_that_it_was_added_under(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.put(c, row("a"), identity="one")
        (again,) = await ports.put(c, row("a"), identity="two")
        assert again.status == "unchanged"
        assert await ports.records.vectors.missing(c, "two") == {}
        assert await ports.records.vectors.find(c, "a", "two") == pytest.approx(row("a").embedding)

    run(story)


def test_rows_and_the_outcomes_of_their_job_are_one_commit(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, jobs, writer = await ports.created(), ports.jobs, ports.records.writer
        await ports.put(c, row("taken", "f00"))
        await jobs.create(Job("job", "c", False, "queued", 4, "now"), [JobItem(n, 0, 0) for n in range(4)])
        bad = InvalidValue("is no image")
        notes = [
            JobNote("job", 0, outcome=AddOutcome(0, None, "failed", bad)),
            JobNote("job", 1, row=1),
            JobNote("job", 2, row=0),
        ]
        await writer.put(c, [row("taken", "f11"), row("a")], identity="i", replace=False, notes=notes)
        first, second, third = await jobs.outcomes("job", -1, 9)
        assert (first.id, first.status, str(first.error)) == (None, "failed", "is no image")
        assert second == JobOutcome(1, "a", "created")
        assert (third.id, third.status, type(third.error)) == ("taken", "failed", Conflict)
        again = [JobNote("job", 1, row=0)]
        await writer.put(c, [row("a")], identity="i", replace=False, notes=again)  # no news: it is unchanged
        assert (await jobs.outcomes("job", 0, 1)) == [second]
        await jobs.finish("job", "cancelled", "")
        with pytest.raises(NotFound, match="job 'job' has ended"):
            await writer.put(c, [row("b")], identity="i", replace=False, notes=[JobNote("job", 3, row=0)])
        assert [record.id for record in await ports.records.rows.page(c, None, 9)] == ["a", "taken"]
        assert len(await jobs.outcomes("job", -1, 9)) == 3

    run(story)


def test_job_writes_into_no_other_collection_than_its_own(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, other = await ports.created("c"), await ports.created("other")
        await ports.jobs.create(Job("job", "c", False, "queued", 1, "now"), [JobItem(0, 0, 0)])
        notes = [JobNote("job", 0, row=0)]
        with pytest.raises(Conflict, match="a job adds to collection 'c'"):
            await ports.records.catalogue.change(c, "d", "original", None)
        with pytest.raises(NotFound):
            await ports.records.writer.put(other, [row("a")], identity="i", replace=False, notes=notes)
        await ports.records.catalogue.drop(c)
        namesake = await ports.created("c")
        with pytest.raises(NotFound):
            await ports.records.writer.put(namesake, [row("a")], identity="i", replace=False, notes=notes)
        assert [one.n_images for one in await ports.records.catalogue.list()] == [0, 0]
        (job,) = await ports.jobs.jobs()
        assert (job.collection, job.state) == ("c (dropped)", "failed")

    run(story)


def test_key_of_a_new_row_is_larger_than_all_before(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, other = await ports.created("c"), await ports.created("other")
        (first,) = await ports.add(c, "a")
        await ports.records.writer.delete(c, [first])
        (second,) = await ports.add(other, "a")
        (third,) = await ports.add(c, "a")
        (replaced,) = await ports.put(c, row("a", "f00"), replace=True)
        assert first < second < third < replaced.key
        assert replaced.removed_key == third

    run(story)


def test_metadata_is_changed_by_a_patch_within_its_bounds(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, writer = await ports.created(), ports.records.writer
        await ports.put(c, row("a", metadata={"n": 1, "x": {"y": 1}}))
        patched = await writer.patch(c, "a", {"n": None, "x": {"z": 2}}, 99)
        assert patched.metadata == {"x": {"y": 1, "z": 2}}
        with pytest.raises(TooLarge, match="the limit is 30"):
            await writer.patch(c, "a", {"long": "x" * 9}, 30)
        with pytest.raises(InvalidValue, match="'exif' is a reserved name"):
            await writer.patch(c, "a", {"exif": 1}, 99)
        with pytest.raises(NotFound, match="no image 'b' in collection 'c'"):
            await writer.patch(c, "b", {}, 99)
        assert await ports.records.rows.get(c, "a") == patched

    run(story)


def test_exif_is_added_to_rows_that_lack_it_and_what_was_read_is_known(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, records = await ports.created(), ports.records
        a, b = await ports.add(c, "a", "b")
        assert await records.catalogue.begin_exif(c, "none") is None
        assert await records.catalogue.begin_exif(c, "basic") == 0
        assert list(await records.rows.originals(c, 0, 9)) == [a, b]
        assert list(await records.rows.originals(c, a, 9)) == [b]
        assert list(await records.rows.originals(c, 0, 1)) == [a]
        await records.writer.patch(c, "a", {"exif": {"lens": "mine"}}, 99)
        before = await ports.change(c)
        await records.writer.add_exif(c, {a: {"lens": "x", "camera": "y"}, 999: {"lens": "x"}}, a)
        assert (await records.rows.get(c, "a")).metadata == {"exif": {"lens": "mine", "camera": "y"}}
        assert await ports.change(c) == before + 1
        await records.writer.add_exif(c, {}, None)
        assert await ports.change(c) == before + 1
        for level, after in (("basic", None), ("place", 0), ("none", None), ("basic", 0)):
            assert await records.catalogue.begin_exif(c, level) == after
        new = (await records.catalogue.create("new", "original", "i", REF, exif="basic")).number
        assert await records.catalogue.begin_exif(new, "basic") is None
        assert await records.catalogue.begin_exif(new, "place") == 0
        await records.writer.add_exif(new, {}, 7)
        assert await records.catalogue.begin_exif(new, "place") == 7
        assert await records.catalogue.begin_exif(new, "basic") == 7
        with pytest.raises(NotFound):
            await records.catalogue.begin_exif(999, "basic")
        with pytest.raises(NotFound):
            await records.rows.originals(999, 0, 9)

    run(story)


def test_embeddings_are_kept_apart_by_identity(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, vectors = await ports.created(), ports.records.vectors
        keys = await ports.add(c, "a", "bb", identity="one")
        assert await vectors.missing(c, "one") == {}
        assert await vectors.missing(c, "two") == dict.fromkeys(keys, True)
        other = np.eye(2, 6, dtype=np.float32)
        assert (await vectors.put(c, [keys[0], 999], other, "two")).keys == [keys[0]]
        assert await vectors.missing(c, "two") == {keys[1]: True}
        (page,) = [page async for page in vectors.since(c, "two")]
        assert (page.keys, page.rows.tolist(), page.damaged) == ([keys[0]], [other[0].tolist()], [])
        assert await vectors.find(c, "a", "one") == pytest.approx(row("a").embedding)
        assert [await vectors.find(c, "bb", identity) for identity in ("two", "never")] == [None, None]
        assert list(await vectors.of([*keys, 999], "two")) == [keys[0]]
        (nothing,) = [page async for page in vectors.since(c, "never")]
        assert (nothing.keys, nothing.damaged) == ([], [])

    run(story)


def test_missing_embeddings_come_by_page(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, vectors = await ports.created(), ports.records.vectors
        keys = await ports.add(c, "a", "b", "c", "d")
        await vectors.put(c, keys[1:2], np.ones((1, DIM), np.float32), "j")
        assert list(await vectors.missing(c, "j", limit=2)) == [keys[0], keys[2]]
        assert list(await vectors.missing(c, "j", after=keys[2], limit=2)) == [keys[3]]
        assert await vectors.missing(c, "j", after=keys[3], limit=2) == {}

    run(story)


def test_embeddings_since_a_change_are_those_that_later_ones_wrote(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, vectors = await ports.created(), ports.records.vectors

        async def since(change: int) -> list[int]:
            return [key async for page in vectors.since(c, "i", change) for key in page.keys]

        a, b = await ports.add(c, "a", "b")
        change = await ports.change(c)
        assert (await since(0), await since(change)) == ([a, b], [])
        (new,) = await ports.add(c, "new")
        await vectors.put(c, [a], np.ones((1, DIM), np.float32), "i")
        (replaced,) = await ports.put(c, row("b", "f00"), replace=True)
        assert await since(change) == [a, new, replaced.key]
        await ports.records.writer.patch(c, "new", {"n": 1}, 99)  # its vector stays
        assert await since(await ports.change(c) - 1) == []
        assert await vectors.last_change(c) == await ports.change(c)
        with pytest.raises(NotFound):
            await vectors.last_change(c + 1)

    run(story)


def test_content_is_released_with_its_last_row(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, d, writer = await ports.created("c"), await ports.created("d"), ports.records.writer
        shared = row("a", "f00")
        in_c, _, _ = [one.key for one in await ports.put(c, shared, row("b", "f00"), row("x", "f11"))]
        (in_d,) = [one.key for one in await ports.put(d, shared)]
        (replaced,) = await ports.put(c, row("x", "f22"), replace=True)
        assert replaced.released == "f11".ljust(64, "0")
        assert (await writer.delete(c, [in_c])).released == ()
        await ports.records.catalogue.drop(c)
        assert (await ports.records.catalogue.clear(c, 9)).released == ("f22".ljust(64, "0"),)
        assert await ports.records.rows.used_files([shared.sha256, "0" * 64]) == {shared.sha256}
        assert (await writer.delete(d, [in_d])).released == (shared.sha256,)

    run(story)


def test_pages_are_in_the_order_of_ids_and_show_changes_at_once(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, rows = await ports.created(), ports.records.rows
        await ports.put(c, *(row(f"i{n}", metadata={"n": n % 3}) for n in (3, 1, 4, 0, 2)))

        async def pages(limit: int, **options: Any) -> list[list[str]]:
            found: list[list[str]] = []
            while page := await rows.page(c, found[-1][-1] if found else None, limit, **options):
                found.append([record.id for record in page])
            return found

        assert await pages(2) == [["i0", "i1"], ["i2", "i3"], ["i4"]]
        assert await pages(3, filter=BELOW_2) == [["i0", "i1", "i3"], ["i4"]]
        await ports.records.writer.patch(c, "i0", {"n": 2}, 99)
        await ports.put(c, row("i1", metadata={"n": 2}), replace=True)
        await ports.put(c, row("i5", metadata={"n": 0}))
        assert await pages(9, filter=BELOW_2) == [["i3", "i4", "i5"]]
        assert (await rows.count(c), await rows.count(c, BELOW_2)) == (6, 3)
        assert [one.values for one in (await rows.fields(c, None, 9)).fields] == [[(2, 3), (0, 2), (1, 1)]]

    run(story)


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (OrderBy(("n",)), ["i0", "i1", "i2", "i3", "i4", "i5", "x"]),
        (OrderBy(("n",), "desc"), ["i4", "i5", "i2", "i3", "i0", "i1", "x"]),
    ],
)
def test_pages_by_a_field_neither_repeat_nor_lose_images_that_stay(
    run: Run, order_by: OrderBy, expected: list[str]
) -> None:
    async def story(ports: Ports) -> None:
        c, rows = await ports.created(), ports.records.rows
        after: Place | None = None
        await ports.put(c, row("x"), *(row(f"i{n}", metadata={"n": n // 2}) for n in (3, 1, 4, 0, 5, 2)))

        async def page(limit: int, filter: Filter | None = None) -> list[str]:
            nonlocal after
            found = await rows.ordered_page(c, order_by, after, limit, filter)
            after = order_by.place_of(found[-1].metadata, found[-1].id) if found else None
            return [record.id for record in found]

        assert await page(9, BELOW_2) == [id for id in expected if id[1:] in {"0", "1", "2", "3"}]
        after = None
        first = await page(2)
        assert first == expected[:2]
        await ports.put(c, row("i9", metadata={"n": 9 if order_by.direction == "desc" else -1}))
        await ports.records.writer.delete(c, await rows.keys(c, first))
        assert [await page(2), await page(2), await page(2)] == [expected[2:4], expected[4:6], expected[6:]]
        after = None
        assert await page(9) == ["i9", *expected[2:]]

    run(story)


def test_values_that_python_takes_for_equal_are_different_ones(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.put(c, row("a", metadata={"n": 1}))
        found = [await ports.records.rows.count(c, Eq(("n",), value)) for value in (1, True, 1.0)]
        assert found == [1, 0, 1]

    run(story)


def test_images_that_share_bytes_and_what_they_are_compared_by_are_told(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, rows = await ports.created(), ports.records.rows
        results = await ports.put(c, row("b", "f00"), row("a", "f00"), row("x"))
        keys = [one.key for one in results]
        assert await rows.same_bytes(c) == [["a", "b"]]
        await ports.records.writer.put_hashes({keys[0]: b"hash", 999: b"gone"})
        assert await rows.hashes([*keys, 999]) == {keys[0]: b"hash", keys[1]: None, keys[2]: None}
        assert [(one.key, one.id, one.picture_hash) for one in await rows.contents(c)] == [
            (keys[1], "a", None),
            (keys[0], "b", b"hash"),
            (keys[2], "x", None),
        ]

    run(story)


def test_abandoned_scan_of_the_metadata_ends_early(run: Run) -> None:
    entered, gate, seen = threading.Event(), threading.Event(), list[int]()

    class Waiting:
        def matches(self, metadata: dict[str, Any]) -> bool:
            seen.append(metadata["n"])
            entered.set()
            return gate.wait(10)

    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.put(c, *(row(f"i{n}", metadata={"n": n}) for n in range(50)))
        scan = asyncio.create_task(ports.records.filtered.passing(c, Waiting()))
        await asyncio.to_thread(entered.wait)
        scan.cancel()
        await asyncio.wait([scan])
        gate.set()

    run(story)
    assert len(seen) == 1


def test_everything_is_there_after_the_store_was_opened_again(run: Run) -> None:
    async def before(ports: Ports) -> None:
        c = await ports.created()
        await ports.add(c, "a")
        await ports.records.catalogue.change(c, "d", "none", None)

    async def after(ports: Ports) -> None:
        await ports.records.require_sound()
        (found,) = await ports.records.catalogue.list()
        assert (found.name, found.keep, found.n_images, found.ref) == ("d", "none", 1, REF)
        assert await ports.records.vectors.find(found.number, "a", "i") == pytest.approx(row("a").embedding)
        assert await ports.change(found.number) == 2

    run(before)
    run(after)

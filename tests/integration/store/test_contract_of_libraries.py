"""What any store must do with the files of libraries."""

from dataclasses import replace

import pytest

from diptych.core.libraries.ports import FilePlace, LibraryFile, Stamp
from diptych.core.types import NewRow
from diptych.errors import NotFound
from integration.store_contract import Ports, Run, row
from integration.store_contract import opens as opens  # noqa: PLC0414 - a fixture
from integration.store_contract import run as run  # noqa: PLC0414 - a fixture

SINCE, LATER = "2026-03-02T09:00:00.000+00:00", "2026-04-02T09:00:00.000+00:00"
BIG = Stamp(2**40, 2**62, "8f2a")


def sha(content: str) -> str:
    return content.ljust(64, "0")


def file(path: bytes, content: str | None, **more: str) -> LibraryFile:
    return LibraryFile(path, BIG, None if content is None else sha(content), **more)


def of_library(id: str, content: str = "") -> NewRow:
    return replace(row(id, content, {"file": {"name": id, "folder": "."}, "tag": "mine"}), referenced=True)


async def paths(ports: Ports, c: int) -> list[bytes]:
    return sorted(one.path for one in await ports.libraries.files(c))


def test_files_are_there_again_after_a_start(run: Run) -> None:
    odd = b"caf\xe9/\n\x01.jpg"
    known = [file(b"a.jpg", "a"), file(odd, None, problem="no picture"), file(b"gone", "x")]

    async def before(ports: Ports) -> None:
        c = await ports.created("photos")
        await ports.libraries.record(c, known)
        await ports.libraries.record(c, [replace(known[0], stamp=Stamp(1, 2, "3"))], gone=[b"gone"])

    async def after(ports: Ports) -> None:
        (c,) = [one.number for one in await ports.records.catalogue.list()]
        found = {one.path: one for one in await ports.libraries.files(c)}
        assert found == {b"a.jpg": replace(known[0], stamp=Stamp(1, 2, "3")), odd: known[1]}
        assert await ports.libraries.places(sha("a")) == [
            FilePlace("photos", b"a.jpg", "3", is_missing=False)
        ]

    run(before)
    run(after)


def test_images_are_found_by_the_sha256_that_they_refer_to(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, other = await ports.created(), await ports.created("other")
        await ports.put(c, of_library("one", "a"), row("kept", "b"))
        await ports.put(other, of_library("two", "c"))
        assert await ports.libraries.images(c, {sha("a"), sha("b"), sha("c")}) == {sha("a"): "one"}
        record = await ports.records.rows.get(c, "one")
        assert record.kept
        sizes = (await ports.records.catalogue.sizes(c))[c]
        assert (sizes.n_kept, sizes.kept_bytes) == (1, 3)  # in the data folder
        assert await ports.records.rows.used_files([sha("a"), sha("b")]) == {sha("b")}

    run(story)


def test_deletion_by_a_person_is_remembered_and_that_of_the_scan_is_not(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, other = await ports.created(keep="reference"), await ports.created("other")
        await ports.put(c, of_library("a"), of_library("b"), row("sent"))
        await ports.put(other, row("sent"))
        await ports.libraries.record(c, [file(b"a", "a"), file(b"b", "b")])
        keys = await ports.records.rows.keys(c, ["a", "sent"])
        await ports.records.writer.delete(c, keys)
        await ports.records.writer.delete(other, await ports.records.rows.keys(other, ["sent"]))
        await ports.libraries.mark_missing(c, [b"b"], SINCE)
        removed = await ports.libraries.tidy(c, LATER)
        assert removed.released == (sha("b"),)
        assert await ports.records.rows.count(c) == 0
        sha256s = {sha("a"), sha("b"), sha("sent")}
        assert await ports.libraries.deleted(c, sha256s) == sha256s - {sha("b")}
        assert await ports.libraries.deleted(other, sha256s) == set()
        await ports.libraries.restore(c, {sha("a")})
        assert await ports.libraries.deleted(c, sha256s) == {sha("sent")}
        assert await paths(ports, c) == [b"a"]

    run(story)


def test_missing_image_keeps_its_row_and_loses_its_vectors(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        a, b = [one.key for one in await ports.put(c, of_library("a"), of_library("b"))]
        await ports.libraries.record(c, [file(b"1", "a"), file(b"2", "a"), file(b"3", "b")])
        assert (await ports.libraries.mark_missing(c, [b"1"], SINCE)).keys == ()  # it has another file
        change = await ports.change(c)
        removed = await ports.libraries.mark_missing(c, [b"2", b"3"], LATER)
        assert sorted(removed.keys) == [a, b]
        assert removed.change > change
        assert await ports.records.vectors.missing(c, "i") == {a: True, b: True}
        metadata = (await ports.records.rows.get(c, "a")).metadata
        assert metadata == {"file": {"name": "a", "folder": ".", "missing": LATER}, "tag": "mine"}
        places = await ports.libraries.places(sha("a"))
        assert places == [FilePlace("c", path, BIG.device, is_missing=True) for path in (b"1", b"2")]
        since = {one.path: one.missing_since for one in await ports.libraries.files(c)}
        assert since == {b"1": SINCE, b"2": LATER, b"3": LATER}

    run(story)


def test_row_of_a_missing_file_that_is_sent_is_kept_and_no_scan_touches_it(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        (a,) = [one.key for one in await ports.put(c, of_library("a"))]
        await ports.libraries.record(c, [file(b"1", "a"), file(b"2", "a")])
        await ports.libraries.mark_missing(c, [b"1", b"2"], SINCE)
        (sent,) = await ports.put(c, row("a"))
        assert (sent.status, sent.key) == ("unchanged", a)
        record = await ports.records.rows.get(c, "a")
        assert (record.kept, record.referenced) == (True, False)
        assert record.metadata == {"file": {"name": "a", "folder": "."}, "tag": "mine"}
        assert await ports.libraries.images(c, {sha("a")}) == {}
        assert (await ports.libraries.mark_missing(c, [b"1"], LATER)).keys == ()
        assert await ports.records.vectors.missing(c, "i") == {}
        (other,) = await ports.put(c, of_library("a", "b"), replace=True)
        assert other.status == "conflict"
        assert (await ports.libraries.tidy(c, LATER)).keys == ()

    run(story)


def test_file_that_is_found_again_describes_its_image_anew(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.put(c, of_library("a"))
        await ports.libraries.record(c, [file(b"old", "a")])
        await ports.libraries.mark_missing(c, [b"old"], SINCE)
        new = {"name": "new", "folder": "b"}
        await ports.libraries.record(c, [file(b"b/new", "a")], gone=[b"old"], described={sha("a"): new})
        assert (await ports.records.rows.get(c, "a")).metadata == {"file": new, "tag": "mine"}
        assert await ports.libraries.places(sha("a")) == [
            FilePlace("c", b"b/new", BIG.device, is_missing=False)
        ]
        assert (await ports.libraries.tidy(c, LATER)).keys == ()

    run(story)


def test_only_files_that_are_missing_for_long_are_dropped(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.put(c, of_library("a"), of_library("b"), of_library("c"))
        await ports.libraries.record(c, [file(b"1", "a"), file(b"2", "b"), file(b"3", "b"), file(b"4", "c")])
        await ports.libraries.mark_missing(c, [b"1", b"2"], SINCE)
        await ports.libraries.mark_missing(c, [b"4"], LATER)
        await ports.libraries.tidy(c, LATER)
        assert await paths(ports, c) == [b"3", b"4"]
        assert await ports.records.rows.count(c) == 2  # b has another file, c is missing for too short

    run(story)


def test_files_go_with_a_dropped_collection(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.put(c, of_library("a"))
        await ports.libraries.record(c, [file(b"a", "a")])
        await ports.records.catalogue.drop(c)
        with pytest.raises(NotFound):
            await ports.libraries.record(c, [file(b"b", "b")])
        await ports.records.catalogue.clear(c, 10)
        await ports.records.catalogue.clear(c, 10)
        assert await ports.libraries.places(sha("a")) == []
        with pytest.raises(NotFound):
            await ports.libraries.files(c)

    run(story)

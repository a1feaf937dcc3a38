"""EXIF in the metadata of stored images: read when they are added, and later of those that were there."""

import asyncio
import io
import logging
from typing import Any

import pytest
from PIL import Image

from diptych.core.collections.stored.originals import THUMBNAIL_SIZES_PX
from diptych.core.collections.upkeep import exif_reading
from diptych.core.collections.upkeep.exif_reading import ExifReading
from diptych.core.collections.upkeep.reembed import NoPause
from diptych.core.types import ExifLevel, Metadata, NewImage
from diptych.errors import NotReady, StoreFull
from integration.store_parts import Opened, Run
from support.photographs import BASIC, PLACE, photograph
from support.pictures import noise

OTHER = photograph((10, 20, 200), details={"DateTimeOriginal": "2020:02:29 00:00:00"})


async def exif_of(opened: Opened, id: str) -> Any:
    return (await opened.collections.images.get("default", id)).metadata.get("exif")


async def all_read(opened: Opened) -> None:
    """Wait until the EXIF of all images has been read."""

    def is_left(db: Any) -> bool:
        return db.execute("SELECT 1 FROM collections WHERE exif_read_to IS NOT NULL").fetchone() is not None

    while await opened.records.threads.read(is_left):  # noqa: ASYNC110 - has no event
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(("level", "stored"), [("none", None), ("basic", BASIC), ("place", BASIC | PLACE)])
@pytest.mark.parametrize("form", ["JPEG", "TIFF"])  # in a thread, and in a process
def test_adds_read_what_the_setting_says(run: Run, form: str, level: ExifLevel, stored: Any) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", photograph(form=form), "a", {"n": 1})
        await opened.add("default", noise(1), "b", {"n": 1})
        assert await exif_of(opened, "a") == stored
        assert await exif_of(opened, "b") is None

    run(story, exif=level)


def test_exif_that_is_null_leaves_room_for_that_of_the_file(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", photograph(), "a", {"n": 1, "exif": None})
        found = await opened.collections.images.get("default", "a")
        assert found.metadata == {"n": 1, "exif": BASIC}

    run(story)


def test_image_that_comes_again_is_unchanged_unless_something_else_was_given(run: Run) -> None:
    async def story(opened: Opened) -> None:
        file, given = photograph(), {"n": 1, "exif": {"camera": "mine"}}
        assert (await opened.add("default", file, "a", given)).status == "created"
        assert await exif_of(opened, "a") == BASIC | {"camera": "mine"}
        for metadata, replace in ((given, False), (given, True), ({"n": 1}, True), (None, True)):
            again = await opened.add("default", file, "a", metadata, replace=replace)
            assert (again.status, again.metadata_differs) == ("unchanged", False)
        twice = [NewImage(file, "a", {"n": 1})] * 2  # decided in the transaction
        outcomes = (await opened.collections.add_many("default", twice, replace=True)).outcomes
        assert [one.status for one in outcomes] == ["unchanged"] * 2
        other = {"n": 1, "exif": {"lens": "other"}}
        assert (await opened.add("default", file, "a", other)).metadata_differs
        assert (await opened.add("default", file, "a", other, replace=True)).status == "replaced"
        assert await exif_of(opened, "a") == BASIC | {"camera": "mine", "lens": "other"}

    run(story)


@pytest.mark.parametrize("metadata", [None, {"n": 2}])
def test_another_picture_under_the_id_brings_its_own_exif(run: Run, metadata: Metadata | None) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", photograph(), "a", {"n": 2, "exif": {"iso": 100}})
        assert (await opened.add("default", OTHER, "a", metadata, replace=True)).status == "replaced"
        found = (await opened.collections.images.get("default", "a")).metadata
        assert found == {"n": 2, "exif": {"taken_at": "2020-02-29T00:00:00", "camera": "Canon EOS R5"}}
        await opened.add("default", noise(1), "a", replace=True)
        assert (await opened.collections.images.get("default", "a")).metadata == {"n": 2}

    run(story)


def test_exif_is_changed_by_a_patch_and_thumbnails_have_none(run: Run) -> None:
    async def story(opened: Opened) -> None:
        images = opened.collections.images
        await opened.add("default", photograph(), "a")
        changed = await images.patch("default", "a", {"exif": {"camera": None, "lens": "50 mm"}})
        assert changed.metadata["exif"] == {"taken_at": BASIC["taken_at"], "lens": "50 mm", **PLACE}
        small = await images.thumbnail("default", "a", THUMBNAIL_SIZES_PX[0])
        with Image.open(io.BytesIO(small)) as thumbnail:
            assert not thumbnail.getexif()

    run(story, exif="place")


def test_images_that_are_there_get_what_the_setting_says(run: Run) -> None:
    async def before(opened: Opened) -> None:
        await opened.collections.create("unkept", "none")
        await opened.add("unkept", photograph(), "a")
        await opened.add("default", photograph(), "a", {"exif": {"lens": "mine"}})
        await opened.add("default", photograph((1, 2, 3), "TIFF"), "b")
        await opened.add("default", noise(1), "c", {"n": 1})

    async def basic(opened: Opened) -> None:
        await all_read(opened)
        assert await exif_of(opened, "a") == BASIC | {"lens": "mine"}
        assert await exif_of(opened, "b") == BASIC
        assert await exif_of(opened, "c") is None
        unkept = await opened.collections.images.get("unkept", "a")
        assert unkept.metadata == {}
        await opened.collections.images.patch("default", "a", {"exif": None})
        await opened.add("default", OTHER, "d")

    async def basic_again(opened: Opened) -> None:
        await all_read(opened)
        assert await exif_of(opened, "a") is None  # read once

    async def place(opened: Opened) -> None:
        await all_read(opened)
        assert await exif_of(opened, "b") == BASIC | PLACE
        assert (await exif_of(opened, "d"))["latitude"] == PLACE["latitude"]

    async def less(opened: Opened) -> None:
        await opened.add("default", photograph((4, 5, 6)), "e")
        assert await exif_of(opened, "e") is None
        assert await exif_of(opened, "b") == BASIC | PLACE  # what is there stays

    async def basic_once_more(opened: Opened) -> None:
        await all_read(opened)
        assert await exif_of(opened, "e") == BASIC

    run(before, exif="none")
    run(basic, exif="basic")
    run(basic_again, exif="basic")
    run(place, exif="place")
    run(less, exif="none")
    run(basic_once_more, exif="basic")


def test_read_only_server_reads_nothing_later(run: Run) -> None:
    async def before(opened: Opened) -> None:
        await opened.add("default", photograph(), "a")

    async def read_only(opened: Opened) -> None:
        read = "SELECT DISTINCT exif FROM collections"
        assert await opened.records.threads.read(lambda db: db.execute(read).fetchall()) == [("none",)]
        assert await exif_of(opened, "a") is None

    run(before, exif="none")
    run(read_only, exif="basic", read_only=True)


class Stopping:
    """Reads headers, until the server stops after a number of calls."""

    def __init__(self, opened: Opened, n_calls: int) -> None:
        self._headers, self.n_left = opened.workers.headers, n_calls
        self.n_read = 0

    async def headers(self, payloads: Any) -> Any:
        if self.n_left == 0:
            raise NotReady("the server is stopping")
        self.n_left -= 1
        self.n_read += len(payloads)
        return await self._headers(payloads)


def test_reading_goes_on_where_it_was_cut_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exif_reading, "CHUNK", 2)
    monkeypatch.setattr(exif_reading, "AT_ONCE", 1)

    def reading(opened: Opened, headers: Stopping) -> ExifReading:
        return ExifReading(
            images=opened.images,
            records=opened.records,
            headers=headers,
            write_queue=opened.write_queue,
            level="basic",
        )

    async def story(opened: Opened) -> None:
        files = [photograph((30 * n, 0, 0)) for n in range(7)]
        await opened.collections.add_many("default", [NewImage(one, f"i{n}") for n, one in enumerate(files)])
        first = reading(opened, Stopping(opened, 5))
        with pytest.raises(NotReady):
            await first.run(await first.begin(opened.collections), NoPause())
        found = [await exif_of(opened, f"i{n}") for n in range(7)]
        assert found == [BASIC] * 4 + [None] * 3
        headers = Stopping(opened, -1)
        second = reading(opened, headers)
        await second.run(await second.begin(opened.collections), NoPause())
        assert [await exif_of(opened, f"i{n}") for n in range(7)] == [BASIC] * 7
        assert headers.n_read == 3
        assert await second.begin(opened.collections) == {}

    run(story, exif="none")


def test_lost_and_damaged_originals_and_rows_are_passed_over(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    ids = ("lost", "damaged", "unreadable", "row", "good")

    async def before(opened: Opened) -> None:
        paths = {}
        for n, id in enumerate(ids):
            await opened.add("default", photograph((30 * n, 0, 0)), id)
            sha256 = (await opened.collections.images.get("default", id)).sha256
            paths[id] = opened.data_dir / "images" / sha256[:2] / sha256
        paths["lost"].unlink()
        paths["damaged"].write_bytes(b"\xff\xd8\xff" + bytes(500))
        paths["unreadable"].unlink()
        paths["unreadable"].mkdir()
        damage = "UPDATE images SET width = 41 WHERE id = 'row'"
        await opened.records.threads.write(lambda db: db.execute(damage) and None)

    async def story(opened: Opened) -> None:
        await all_read(opened)
        assert [await exif_of(opened, id) for id in ids] == [None] * 4 + [BASIC]
        assert "collection default: 5 originals read, 2 have EXIF" in caplog.text

    run(before, exif="none")
    caplog.set_level(logging.INFO)
    run(story, exif="basic")


def test_originals_out_of_reach_are_waited_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exif_reading, "RETRY_S", 0.0)

    async def story(opened: Opened) -> None:
        await opened.add("default", photograph(), "a")
        images, elsewhere = opened.data_dir / "images", opened.data_dir / "elsewhere"
        images.rename(elsewhere)
        reading = ExifReading(
            images=opened.images,
            records=opened.records,
            headers=opened.workers,
            write_queue=opened.write_queue,
            level="basic",
        )
        task = asyncio.create_task(reading.run(await reading.begin(opened.collections), NoPause()))
        while "it is tried again: the folder images" not in caplog.text:  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.001)
        elsewhere.rename(images)
        await task
        assert await exif_of(opened, "a") == BASIC

    run(story, exif="none")


def test_full_disk_delays_the_reading(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exif_reading, "RETRY_S", 0.0)

    async def before(opened: Opened) -> None:
        await opened.add("default", photograph(), "a")

    def fill(opened: Opened) -> None:
        add_exif, fails = opened.records.writer.add_exif, [True, True]

        async def full(*args: Any) -> None:
            if fails:
                fails.pop()
                raise StoreFull("the disk is full")
            await add_exif(*args)

        monkeypatch.setattr(opened.records.writer, "add_exif", full)

    async def story(opened: Opened) -> None:
        await all_read(opened)
        assert await exif_of(opened, "a") == BASIC

    run(before, exif="none")
    run(story, before=fill, exif="basic")

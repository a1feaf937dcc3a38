"""What each keeper of image files must do: a folder, and an object store."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from diptych.core.collections.stored.ids import sha256_of
from diptych.core.collections.stored.ports import ImageStore
from diptych.errors import CorruptStore
from integration.image_stores import FolderOfImages, ObjectsOfImages
from support.object_store import Store

PAYLOADS = {sha256_of(payload): payload for payload in (b"one", b"two")}
ONE, TWO = PAYLOADS


class Place(Protocol):
    """Where images are kept, beyond what a server does with it."""

    def open(self) -> ImageStore:
        """What one of several servers has of it."""
        ...

    def damage(self, sha256: str, content: bytes) -> None: ...

    def lose(self, sha256: str) -> None: ...

    def age(self) -> None:
        """Let all files be older than the grace."""
        ...


@pytest.fixture(params=["folder", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return FolderOfImages(tmp_path)
    store: Store = request.getfixturevalue("object_store")
    return ObjectsOfImages(store, store.bucket())


async def stored(images: ImageStore) -> list[str]:
    return [sha256 for page in [page async for page in images.stored()] for sha256 in page]


async def sweep(
    images: ImageStore, unused: Sequence[str], *, meanwhile: Awaitable[None] | None = None
) -> None:
    """Remove those of the stored files that nobody uses, as a server does."""
    async for page in images.stored():
        if meanwhile is not None:
            await meanwhile
            meanwhile = None
        await images.remove([sha256 for sha256 in page if sha256 in unused])


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await story()

    asyncio.run(whole())


def test_files_are_read_back_with_their_thumbnails_and_sizes(place: Place) -> None:
    async def story() -> None:
        images = place.open()
        await images.put(PAYLOADS)
        await images.put(PAYLOADS)
        await images.put({})
        await images.put_thumbnail(ONE, 64, b"small")
        assert [await images.get(sha256) for sha256 in PAYLOADS] == [b"one", b"two"]
        assert await images.get_thumbnail(ONE, 64) == b"small"
        assert await images.get_thumbnail(ONE, 128) is None
        assert await images.sizes([ONE, "f" * 64, TWO]) == {ONE: 3, TWO: 3}
        await images.remove([])
        assert await place.open().get(ONE) == b"one"
        await images.require_available()
        await images.require_writable()

    run(story)


def test_missing_file_is_named(place: Place) -> None:
    async def story() -> None:
        images = place.open()
        await images.put(PAYLOADS)
        place.lose(ONE)
        with pytest.raises(CorruptStore, match=f"file of image {ONE} is missing") as found:
            await images.get(ONE)
        assert ONE not in found.value.logged
        assert await images.sizes(list(PAYLOADS)) == {TWO: 3}

    run(story)


def test_damaged_file_is_named_and_not_answered_with(place: Place) -> None:
    async def story() -> None:
        images = place.open()
        await images.put({ONE: b"one"})
        for damage in (b"0ne", b"", b"one more"):
            place.damage(ONE, damage)
            with pytest.raises(
                CorruptStore, match=f"file of image {ONE} is damaged: add the image again"
            ) as found:
                await images.get(ONE)
            assert ONE not in found.value.logged

    run(story)


@pytest.mark.parametrize("are_used", [False, True])
def test_missing_or_damaged_file_is_written_anew_by_the_next_put(place: Place, are_used: bool) -> None:
    async def story() -> None:
        images = place.open()
        for damage in (b"0ne", b"", b"one more"):
            await images.put({ONE: b"one"})
            place.damage(ONE, damage)
            await images.put({ONE: b"one"}, are_used=are_used)
            assert await images.get(ONE) == b"one"
            assert await images.sizes([ONE]) == {ONE: 3}
        place.lose(ONE)
        await images.put({ONE: b"one"}, are_used=are_used)
        assert await images.get(ONE) == b"one"

    run(story)


def test_unused_files_are_removed_with_their_thumbnails_once_they_are_old(place: Place) -> None:
    async def story() -> None:
        images = place.open()
        await images.put(PAYLOADS)
        for sha256 in PAYLOADS:
            await images.put_thumbnail(sha256, 64, b"small")
        assert await stored(images) == []  # none that may be removed
        await sweep(images, [ONE, TWO])
        place.age()
        assert set(await stored(images)) == {ONE, TWO}
        await sweep(images, [ONE])
        assert await images.sizes([ONE, TWO]) == {TWO: 3}
        assert [await images.get_thumbnail(sha256, 64) for sha256 in PAYLOADS] == [None, b"small"]
        assert set(await stored(images)) == {TWO}

    run(story)


def test_file_that_another_server_adds_during_a_sweep_stays(place: Place) -> None:
    async def story() -> None:
        mine, others = place.open(), place.open()
        await mine.put(PAYLOADS)
        place.age()
        await sweep(mine, [ONE, TWO], meanwhile=others.put({ONE: b"one"}))
        assert await others.sizes([ONE, TWO]) == {ONE: 3}
        assert await others.get(ONE) == b"one"
        assert await stored(mine) == []

    run(story)

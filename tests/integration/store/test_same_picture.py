"""The same picture in several files: its hash is made when it is added, or from the kept original."""

import sqlite3
from typing import Any, Literal

import pytest

from diptych.core.collections import images
from diptych.core.collections.search import SearchInput, WeightedQuery, search_images
from diptych.core.types import Keep
from integration.store_parts import Opened, Run, without_urls
from support.pictures import noise, picture

Folded = dict[str, list[str]]


async def add(opened: Opened, keep: Keep = "original") -> None:
    """Add a red picture in two sizes, and another picture, to the collection `pets`."""
    await opened.collections.create("pets", keep)
    for id, payload in (("red", picture("red")), ("large", picture("red", (64, 64))), ("other", noise(1))):
        assert (await opened.add("pets", payload, id)).status == "created"


async def search(opened: Opened) -> Folded:
    """The hits and their duplicates of the same picture."""
    asked = SearchInput([WeightedQuery("red", "q")], ["pets"], k=9, collapse="picture")
    found = await search_images(
        asked,
        serving=opened.serving,
        collections=opened.collections,
        image_urls=without_urls(opened),
        reserve=lambda n: None,
    )
    return {hit.id: [one.id for one in hit.duplicates if one.kind == "picture"] for hit in found.hits}


async def forget_hashes(opened: Opened) -> None:
    """As in a data folder of an earlier release."""
    clear = "UPDATE images SET picture_hash = NULL"
    await opened.records.threads.write(lambda db: db.execute(clear) and None)


async def n_hashes(opened: Opened) -> int:
    def count(db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT count(picture_hash) FROM images").fetchone()[0])

    return await opened.records.threads.read(count)


@pytest.mark.parametrize("keep", ["original", "none"])
def test_same_picture_is_folded_whether_or_not_its_file_is_kept(run: Run, keep: Keep) -> None:
    async def story(opened: Opened) -> None:
        await add(opened, keep)
        assert await search(opened) == {"red": ["large"], "other": []}

    run(story)


def test_hashes_of_earlier_rows_are_made_from_their_originals_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add(opened)
        await forget_hashes(opened)
        read, n_read = opened.images.get, 0

        async def counted(sha256: str) -> bytes:
            nonlocal n_read
            n_read += 1
            return await read(sha256)

        monkeypatch.setattr(opened.images, "get", counted)
        assert await search(opened) == {"red": ["large"], "other": []}
        assert (await n_hashes(opened), n_read) == (3, 3)
        assert await search(opened) == {"red": ["large"], "other": []}
        assert n_read == 3

    run(story)


async def same_pictures(opened: Opened, kind: Literal["bytes", "picture"] = "picture") -> tuple[Any, ...]:
    """The ids of each group, and how many images have no hash."""
    page = await opened.collections.images.duplicates("pets", kind, None, 9)
    return [[image.id for image in group.images] for group in page.groups], page.n_unknown


@pytest.mark.parametrize("keep", ["original", "none"])
def test_same_pictures_of_a_collection_are_found(run: Run, keep: Keep) -> None:
    async def story(opened: Opened) -> None:
        await add(opened, keep)
        assert await same_pictures(opened) == ([["large", "red"]], 0)
        await opened.add("pets", picture("red"), "again")
        assert await same_pictures(opened) == ([["again", "large", "red"]], 0)
        assert await same_pictures(opened, "bytes") == ([["again", "red"]], 0)

    run(story)


def test_missing_hashes_are_made_a_part_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_FOLDED", 2)

    async def story(opened: Opened) -> None:
        await add(opened)
        await opened.add("pets", noise(2), "z")
        await forget_hashes(opened)
        assert [await same_pictures(opened) for _ in range(3)] == [([], 2), *[([["large", "red"]], 0)] * 2]
        assert await n_hashes(opened) == 4

    run(story)

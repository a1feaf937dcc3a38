"""Rows that keep no image, and their collection under another version."""

from typing import Any

import numpy as np
import pytest

from diptych.core.types import Deletion, NewVector, VectorOrigin
from diptych.errors import Conflict, NotFound
from integration.store_parts import Opened, Run, embedded
from support.fixtures import model_repo_fixture
from support.pictures import picture
from support.tiny_bundle import EMBED_DIM, TINY

model_repo = model_repo_fixture({}, {"seed": 1})


def unit(seed: int) -> Any:
    row = np.random.default_rng(seed).standard_normal(EMBED_DIM).astype(np.float32)
    return row / np.linalg.norm(row)


async def add_vector(opened: Opened, version: int, id: str, seed: int, *, replace: bool = False) -> str:
    origin, item = VectorOrigin(TINY, version), NewVector(unit(seed), id, {"seed": seed})
    added = await opened.collections.add_vectors("default", origin, [item], replace=replace)
    (outcome,) = added.outcomes
    return outcome.status


def test_collection_that_keeps_nothing_writes_no_file_and_is_searched(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.collections.create("bare", "none")
        assert (await opened.add("bare", picture("red"), "red")).status == "created"
        assert (await opened.add("bare", picture("red"), "red")).status == "unchanged"
        assert opened.files() == []
        query = (await opened.embedder.embed_text("red")).embedding
        assert [hit.id for hit in await opened.collections.search("bare", query, k=3)] == ["red"]
        with pytest.raises(NotFound, match="no file is kept"):
            await opened.collections.original("bare", "red")

    async def after(opened: Opened) -> None:
        info = await opened.collections.get("bare")
        assert (info.keep, info.state, info.n_embedded) == ("none", "ready", 1)

    run(story)
    run(after)


def test_file_that_another_collection_keeps_outlives_the_row_that_keeps_none(
    run: Run,
) -> None:
    async def story(opened: Opened) -> None:
        await opened.collections.create("bare", "none")
        await opened.add("default", picture("red"), "red")
        await opened.add("bare", picture("red"), "red")
        await opened.collections.delete("bare", "red")
        assert len(opened.files()) == 1
        await opened.add("bare", picture("red"), "red")
        await opened.collections.delete("default", "red")
        assert opened.files() == []

    run(story)


def test_rows_of_another_version_make_the_collection_say_so_and_nothing_is_mixed(
    run: Run,
) -> None:
    async def first(opened: Opened) -> None:
        await opened.add("default", picture("red"), "red")
        assert await add_vector(opened, 1, "ready-made", 7) == "created"

    async def second(opened: Opened) -> None:
        info = await embedded(opened)
        assert info.state == "other_version"
        assert (info.n_images, info.n_embedded) == (2, 1)  # the image was embedded again
        assert "1 of 2 rows keep no image" in info.reason
        with pytest.raises(Conflict, match="cannot be searched: 1 of 2 rows"):
            await opened.collections.search("default", unit(7), k=1)
        with pytest.raises(Conflict, match=f"of {TINY}/1, and this server keeps those of {TINY}/2"):
            await add_vector(opened, 1, "more", 8)

    async def back(opened: Opened) -> None:
        assert (await opened.collections.get("default")).state == "ready"
        assert (await opened.ids(unit(7), k=1)) == ["ready-made"]

    run(first)
    run(second, version=2)
    run(back)


@pytest.mark.parametrize("way", ["replaced", "deleted", "deleted as lacking"])
def test_collection_is_ready_once_its_rows_of_another_version_are(run: Run, way: str) -> None:
    async def first(opened: Opened) -> None:
        await add_vector(opened, 1, "old", 7)

    async def second(opened: Opened) -> None:
        assert (await opened.collections.get("default")).state == "other_version"
        if way == "replaced":
            assert await add_vector(opened, 2, "old", 9, replace=True) == "replaced"
            assert (await opened.ids(unit(9), k=2)) == ["old"]
        elif way == "deleted as lacking":
            await opened.add("default", picture("red"), "red")
            found = await opened.collections.delete_matching("default", None, lacking=True, preview=True)
            assert found == Deletion(1, ("old",))
            await opened.collections.delete_matching("default", None, lacking=True, preview=False)
            assert [one.id for one in (await opened.collections.list_images("default", None, 9))[0]] == [
                "red"
            ]
        else:
            await opened.collections.delete("default", "old")
            assert (await opened.ids(unit(9), k=2)) == []
        assert (await opened.collections.get("default")).state == "ready"

    run(first)
    run(second, version=2)


def test_image_that_is_added_again_is_embedded_though_it_is_not_kept(run: Run) -> None:
    async def first(opened: Opened) -> None:
        await opened.collections.create("bare", "none")
        await opened.add("bare", picture("red"), "red")

    async def second(opened: Opened) -> None:
        assert (await opened.collections.get("bare")).state == "other_version"
        assert (await opened.add("bare", picture("red"), "red")).status == "unchanged"
        info = await opened.collections.get("bare")
        assert (info.state, info.n_embedded) == ("ready", 1)

    run(first)
    run(second, version=2)

"""Rows that keep no image, and their collection under another version."""

from typing import Any

import numpy as np
import pytest

from diptych.core.types import NewVector, VectorOrigin
from diptych.errors import Conflict, NotFound
from integration.store_parts import Opened, Run
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
        assert [hit.id for hit in await opened.search("bare", query, k=3)] == ["red"]
        with pytest.raises(NotFound, match="no file is kept"):
            await opened.collections.images.original("bare", "red")

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
        await opened.collections.images.delete("bare", "red")
        assert len(opened.files()) == 1
        await opened.add("bare", picture("red"), "red")
        await opened.collections.images.delete("default", "red")
        assert opened.files() == []

    run(story)


def test_rows_without_an_image_keep_the_collection_at_their_version_and_nothing_is_mixed(
    run: Run,
) -> None:
    async def first(opened: Opened) -> None:
        await opened.add("default", picture("red"), "red")
        assert await add_vector(opened, 1, "ready-made", 7) == "created"

    async def second(opened: Opened) -> None:
        info = await opened.collections.get("default")
        assert (info.state, info.n_images, info.n_embedded) == ("ready", 2, 2)
        assert "1 of 2 rows keep no image" in info.stays
        assert (await opened.search("default", unit(7), k=1))[0].id == "ready-made"
        with pytest.raises(Conflict, match=f"of {TINY}/2, and this server keeps those of {TINY}/1"):
            await add_vector(opened, 2, "more", 8)
        assert await add_vector(opened, 1, "more", 8) == "created"

    async def back(opened: Opened) -> None:
        assert (await opened.collections.get("default")).stays == ""
        assert (await opened.ids(unit(7), k=1)) == ["ready-made"]

    run(first)
    run(second, version=2)
    run(back)


@pytest.mark.parametrize("way", ["replaced", "deleted"])
def test_collection_follows_again_once_rows_without_an_image_are_gone(run: Run, way: str) -> None:
    async def first(opened: Opened) -> None:
        await opened.add("default", picture("red"), "red")
        await add_vector(opened, 1, "old", 7)
        ended = await opened.activate(TINY, 2)
        assert "default" in ended.stays
        if way == "replaced":
            assert (await opened.add("default", picture("blue"), "old", replace=True)).status == "replaced"
        else:
            await opened.collections.images.delete("default", "old")

    async def second(opened: Opened) -> None:
        for rollout in await opened.rollouts.list():
            await opened.end_of(rollout)
        stats = await opened.collections.stats("default")
        assert stats.vectors is not None
        assert (stats.vectors.version, stats.info.stays) == (2, "")

    run(first)
    run(second, version=2)

"""Collections move to another version while their old vectors answer every search."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.concurrency.admission import Admission
from diptych.core.types import NewImage
from diptych.errors import Conflict, InvalidValue, NotFound, StoreFull
from integration.store_parts import COLOURS, Opened, Run, add_colours, look
from integration.version_parts import Held, gone, require_found, version_of
from support.fixtures import model_repo_fixture
from support.pictures import noise, picture
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1}, {"name": "other", "seed": 2})


def test_old_vectors_answer_until_the_new_index_is_complete(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        assert await version_of(opened) == (TINY, 1)
        info = await opened.collections.get("default")
        assert (info.state, info.n_embedded) == ("ready", 4)
        assert len(await opened.ids(np.eye(16, dtype=np.float32)[0])) == 4
        progress = opened.rollouts.progress(rollout.id)
        assert progress is not None
        assert (progress.n_embedded, progress.n_images) == (0, 4)
        held.go_on()
        await opened.end_of(rollout)
        assert await version_of(opened) == (TINY, 2)
        assert opened.serving.current.version.model.version == 2
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


def test_precision_that_a_version_lacks_is_kept_for_the_next_one(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        assert opened.serving.current.version.model.precision == "fp32"
        served = await opened.store.served()
        assert served is not None
        assert (served.active.precision, served.wanted) == ("fp32", "int8")
        with pytest.raises(InvalidValue, match="tiny/2 has no precision 'int8', only fp32"):
            await opened.rollouts.activate(TINY, 2, "int8")

    async def after(opened: Opened) -> None:
        await opened.activate("other")
        assert opened.serving.current.version.model.precision == "int8"
        await require_found(opened, *COLOURS)

    def version_2_lacks_int8(opened: Opened) -> None:
        opened.bundles.precisions_of[2] = ["fp32"]

    run(story, precision="int8", before=version_2_lacks_int8)
    run(after, version=2)


def test_precision_that_fails_here_leaves_what_served(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        rollout = await opened.activate(TINY, 1, "failed", precision="fp16")
        assert "golden image" in rollout.reason
        assert opened.serving.current.version.model.precision == "fp32"
        await require_found(opened, *COLOURS)

    run(story)


def test_collection_without_originals_stays_searchable_and_says_why(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.collections.create("bare", "none")
        await opened.add("bare", picture("red"), "red")
        rollout = await opened.activate(TINY, 2, precision="fp32")
        assert dict(rollout.stays) == {"bare": "1 of 1 rows keep no image that could be embedded"}
        assert await version_of(opened) == (TINY, 2)
        assert await version_of(opened, "bare") == (TINY, 1)
        info = await opened.collections.get("bare")
        assert (info.state, info.stays) == ("ready", rollout.stays["bare"])
        query = (await opened.pair("bare").version.embedder.embed_text("red")).embedding
        assert [hit.id for hit in await opened.search("bare", query, k=3)] == ["red"]
        assert (await opened.add("bare", picture("blue"), "blue")).status == "created"

    async def after(opened: Opened) -> None:
        assert await version_of(opened, "bare") == (TINY, 1)
        info = await opened.collections.get("bare")
        assert (info.state, info.n_embedded) == ("ready", 2)
        assert info.stays == "2 of 2 rows keep no image that could be embedded again"
        assert opened.pair("bare").model.precision == "int8"
        query = (await opened.pair("bare").version.embedder.embed_text("blue")).embedding
        assert (await opened.search("bare", query, k=1))[0].id == "blue"
        await until(lambda: (TINY, 1) in {(one.name, one.version) for one in opened.bundles.kept[-1]})

    run(story, precision="int8")
    run(after, version=2)


def test_cancelled_rollout_leaves_everything_as_it_was(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        cancelling = asyncio.create_task(opened.rollouts.cancel(rollout.id))
        await asyncio.sleep(0.01)
        held.go_on()
        assert (await cancelling).state == "cancelled"
        assert await version_of(opened) == (TINY, 1)
        await until(lambda: len(opened.versions.loaded()) == 1)
        await require_found(opened, "red", "green", "blue", "yellow")
        with pytest.raises(Conflict, match="has ended: it is cancelled"):
            await opened.rollouts.cancel(rollout.id)
        with pytest.raises(NotFound):
            await opened.rollouts.cancel("absent")

    run(story)


def test_failed_rollout_that_is_tried_again_embeds_nothing_twice(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2, state="failed")
        assert await opened.records.vectors.missing(opened.collections["default"].number, f"{TINY}/2") == {}
        encoded = Held(opened)
        await opened.activate(TINY, 2, state="failed")
        assert not encoded.entered.is_set()

    run(story, min_overlap=1.01)


def test_image_that_cannot_be_embedded_any_more_keeps_the_old_version(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        lost = (await opened.collections.images.get("default", "red")).sha256
        file = next((opened.data_dir / "images").glob(f"*/{lost}"))
        payload = file.read_bytes()
        file.unlink()
        ended = await opened.activate(TINY, 2, state="failed")
        assert ended.reason.startswith("1 of 4 images of collection 'default' cannot be embedded")
        assert await version_of(opened) == (TINY, 1)
        assert await opened.ids(await look(opened, "red"), k=1) == ["red"]
        file.write_bytes(payload)
        await opened.activate(TINY, 2)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


@pytest.mark.parametrize("where", ["room", "put_embeddings", "switch"])
def test_disk_that_is_full_keeps_the_old_version(run: Run, where: str) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)

        async def refuse(*values: Any, **named: Any) -> Any:
            raise StoreFull("no space is left")

        with pytest.MonkeyPatch.context() as patch:
            if where == "room":
                opened.free_space.error = StoreFull("no space is left")
            elif where == "put_embeddings":
                patch.setattr(opened.records.vectors, "put", refuse)
            else:
                patch.setattr(opened.store, "switch", refuse)
            ended = await opened.activate(TINY, 2, state="failed")
            assert ended.reason == "no space is left"
        opened.free_space.error = None
        assert await version_of(opened) == (TINY, 1)
        await require_found(opened, "red", "green", "blue", "yellow")
        await opened.activate(TINY, 2)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


@pytest.mark.parametrize(("max_items", "max_bytes"), [(3, 10**9), (256, 2_000)])
def test_rollout_fits_into_a_small_queue(run: Run, max_items: int, max_bytes: int) -> None:
    async def before(opened: Opened) -> None:
        await opened.collections.add_many("default", [NewImage(noise(n, (16, 16))) for n in range(10)])

    async def after(opened: Opened) -> None:
        await opened.activate(TINY, 2)
        assert (await opened.collections.get("default")).n_embedded == 10

    run(before)
    run(after, admission=Admission(max_items=max_items, max_bytes=max_bytes))


def test_collection_without_originals_whose_version_is_gone_can_be_read_but_not_searched(
    run: Run, model_repo: Path
) -> None:
    async def bare(opened: Opened) -> None:
        await opened.collections.create("bare", "none")
        await opened.add("bare", picture("red"), "red")

    async def without_version_1(opened: Opened) -> None:
        info = await opened.collections.get("bare")
        assert (info.state, info.n_images) == ("unserved", 1)
        for refused in (
            opened.search("bare", np.ones(16, np.float32), k=1),
            opened.add("bare", picture("black")),
            opened.collections.images.embedding("bare", "red"),
            opened.collections.images.delete_matching("bare", None, lacking=True, preview=True),
        ):
            with pytest.raises(Conflict, match="read and deleted from only: tiny/1 in fp32 cannot be loaded"):
                await refused
        await opened.collections.images.delete("bare", "red")
        assert (await opened.collections.get("bare")).n_images == 0

    run(bare)
    with gone(model_repo / TINY / "1"):
        run(without_version_1, version=2)


def test_rollout_that_is_cancelled_during_its_switch_is_done_and_all_of_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        switch, entered, go_on = opened.store.switch, asyncio.Event(), asyncio.Event()

        async def held(*values: Any, **named: Any) -> None:
            entered.set()
            await go_on.wait()
            await switch(*values, **named)

        with monkeypatch.context() as patch:
            patch.setattr(opened.store, "switch", held)
            rollout = await opened.rollouts.activate(TINY, 2)
            await entered.wait()
            cancelling = asyncio.create_task(opened.rollouts.cancel(rollout.id))
            await asyncio.sleep(0.01)
            go_on.set()
            assert (await cancelling).state == "active"
        assert await version_of(opened) == (TINY, 2)
        assert opened.serving.current.version.model.version == 2
        await require_found(opened, "red", "green", "blue", "yellow")
        assert (await opened.serving.current.version.embedder.embed_text("red")).embedding.shape == (16,)
        await opened.activate(TINY, 1)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)

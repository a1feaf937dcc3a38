"""Collections with a precision of their own: what makes their vectors, and how the precision is changed."""

import asyncio
from typing import Any

import numpy as np
import pytest

from diptych.core.collections.nearest import SearchTarget
from diptych.core.collections.search import SearchInput, WeightedQuery, search_collection
from diptych.core.types import SERVER, CollectionChange, NewImage, NewVector, VectorOrigin
from diptych.errors import Conflict, InvalidValue, NotFound
from integration.store_parts import Opened, Run, embedded, without_urls
from support.pictures import picture
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

COLOURS = ("red", "green", "blue")


async def fill(opened: Opened, name: str, precision: str = SERVER, keep: Any = "original") -> None:
    await opened.collections.create(name, keep, precision)
    for colour in COLOURS:
        assert (await opened.add(name, picture(colour), colour)).status == "created"


async def precision_of(opened: Opened, name: str) -> tuple[str, str]:
    """As it is set, and of its vectors."""
    stats = await opened.collections.stats(name)
    assert stats.vectors is not None
    return stats.info.precision, stats.vectors.precision


async def ready(opened: Opened, name: str) -> None:
    assert (await embedded(opened, name)).state == "ready"


async def best(opened: Opened, name: str, colour: str) -> str:
    """The id that is found by the word, with a query by the collection's own encoder."""
    with opened.collections.using(name) as vectors:
        query = (await vectors.pipeline.embedder.embed_text(colour)).embedding
        hits = await opened.collections.search([SearchTarget(name, vectors)], query, k=3)
    assert len(hits) == len(COLOURS)
    return hits[0].id


def test_vectors_and_queries_are_by_the_precision_of_the_collection(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened, "exact")
        await fill(opened, "small", "int8")
        assert await precision_of(opened, "exact") == (SERVER, "fp32")
        assert await precision_of(opened, "small") == ("int8", "int8")
        for name in ("exact", "small"):
            assert [await best(opened, name, colour) for colour in COLOURS] == list(COLOURS)
        exact = await opened.collections.images.embedding("exact", "red")
        small = await opened.collections.images.embedding("small", "red")
        assert np.allclose(small, np.roll(exact, 1), atol=1e-6)
        added = await opened.collections.add_many("small", [NewImage(picture("white"))])
        assert added.model.precision == "int8"

    async def again(opened: Opened) -> None:
        assert opened.opened == ["int8"]
        assert await precision_of(opened, "small") == ("int8", "int8")
        assert await opened.collections.images.embedding("small", "red") is not None
        assert (await opened.collections.get("small")).state == "ready"

    run(story)
    run(again)


def test_precision_is_loaded_with_the_first_collection_and_released_with_the_last(
    run: Run,
) -> None:
    async def story(opened: Opened) -> None:
        collections, pipelines = opened.collections, opened.pipelines
        await collections.create("a", precision="int8")
        await collections.create("b", precision="int8")
        assert opened.opened == ["int8"]
        await collections.drop("a")
        assert len(pipelines.loaded()) == 2
        await opened.take("b", SERVER)
        await until(lambda: len(pipelines.loaded()) == 1)
        await collections.create("c", precision="fp32")  # which the server has for collections anyway
        assert await precision_of(opened, "c") == ("fp32", "fp32")
        await opened.take("c", "int8")
        assert opened.opened == ["int8", "int8"]

    run(story)


def test_refused_precision_changes_nothing(run: Run) -> None:
    async def story(opened: Opened) -> None:
        collections = opened.collections
        for precision, complaint in {
            "int4": f"{TINY}/1 has no precision 'int4', only fp32, int8, fp16",
            "fp16": f"precision fp16 of {TINY}/1 cannot be served here: golden image 1",
        }.items():
            with pytest.raises(InvalidValue, match=complaint):
                await collections.create("new", precision=precision)
            with pytest.raises(InvalidValue, match=complaint):
                await opened.rollouts.move_collection("default", precision=precision)
            with pytest.raises(NotFound):
                await collections.get("new")
            assert await precision_of(opened, "default") == (SERVER, "fp32")
        await collections.create("small", precision="int8")
        with pytest.raises(Conflict):
            await collections.create("small", precision="int8")
        with pytest.raises(NotFound):
            await opened.rollouts.move_collection("absent", precision="int8")
        await collections.drop("small")
        await until(lambda: len(opened.pipelines.loaded()) == 1)

    run(story)


def test_another_precision_embeds_the_kept_images_again_and_going_back_costs_nothing(
    run: Run,
) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened, "pets")
        exact = await opened.collections.images.embedding("pets", "blue")
        await opened.take("pets", "int8")
        assert [await best(opened, "pets", colour) for colour in COLOURS] == list(COLOURS)
        assert np.allclose(
            await opened.collections.images.embedding("pets", "blue"), np.roll(exact, 1), atol=1e-6
        )
        n_batches = len(opened.metrics.batches)
        await opened.take("pets", SERVER)
        assert len(opened.metrics.batches) == n_batches
        assert np.array_equal(await opened.collections.images.embedding("pets", "blue"), exact)

    run(story)


def test_change_that_is_cut_short_goes_on_at_the_next_start(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened, "pets")
        await opened.rollouts.move_collection("pets", precision="int8")

    async def again(opened: Opened) -> None:
        for rollout in await opened.rollouts.list():
            await opened.end_of(rollout)
        assert await precision_of(opened, "pets") == ("int8", "int8")
        assert await best(opened, "pets", "green") == "green"

    run(story)
    run(again)


def test_rows_that_keep_no_image_keep_the_collection_at_its_precision(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened, "bare", keep="none")
        with pytest.raises(
            Conflict,
            match="'bare' cannot move: 3 of 3 rows keep no image that could be embedded",
        ):
            await opened.rollouts.move_collection("bare", precision="int8")
        assert await precision_of(opened, "bare") == (SERVER, "fp32")
        assert await best(opened, "bare", "red") == "red"
        await until(lambda: len(opened.pipelines.loaded()) == 1)
        await opened.take("bare", "fp32")  # of which its vectors are
        assert await precision_of(opened, "bare") == ("fp32", "fp32")
        await opened.collections.create("empty", "none")
        await opened.take("empty", "int8")
        assert await precision_of(opened, "empty") == ("int8", "int8")

    run(story)


def test_images_that_are_added_during_the_change_are_embedded_by_the_new_precision(
    run: Run,
) -> None:
    async def story(opened: Opened) -> None:
        encode, entered, go_on = opened.encode_image, asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def held(items: Any, on_start: Any) -> Any:
            loop.call_soon_threadsafe(entered.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)
            return encode(items, on_start)

        opened.encode_image = held
        adding = asyncio.create_task(
            opened.collections.add_many("default", [NewImage(picture("red"), "red")])
        )
        await entered.wait()
        await opened.take("default", "int8")
        opened.encode_image = encode
        go_on.set()
        added = await adding
        assert (added.model.precision, [one.status for one in added.outcomes]) == ("int8", ["created"])
        with opened.collections.using("default") as vectors:
            expected = await vectors.pipeline.embedder.embed_image(picture("red"))
        assert np.array_equal(await opened.collections.images.embedding("default", "red"), expected)

    run(story)


def test_query_of_another_precision_is_searched_among_its_own_vectors(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened, "pets")
        with opened.collections.using("pets") as vectors:
            query = (await vectors.pipeline.embedder.embed_text("red")).embedding
            await opened.take("pets", "int8")
            assert await precision_of(opened, "pets") == ("int8", "int8")
            hits = await opened.collections.search([SearchTarget("pets", vectors)], query, k=1)
            assert hits[0].id == "red"

    run(story)


def test_collections_of_different_precisions_are_not_searched_together(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened, "cats", "int8")
        await fill(opened, "pets")
        asked = SearchInput([WeightedQuery("red", "q")], ["pets", "cats"], k=9)
        message = r"'cats' has vectors of tiny/1 \(\w+\) in int8 .* 'pets' of tiny/1 .* in fp32"
        with pytest.raises(InvalidValue, match=message) as caught:
            await search_collection(
                asked, collections=opened.collections, image_urls=without_urls(opened), reserve=lambda n: None
            )
        assert caught.value.item == "collections"
        await opened.take("cats", SERVER)
        found = await search_collection(
            asked, collections=opened.collections, image_urls=without_urls(opened), reserve=lambda n: None
        )
        assert [(hit.id, hit.collection) for hit in found.hits[:2]] == [("red", "cats"), ("red", "pets")]

    run(story)


def test_ready_made_vectors_must_be_of_the_precision_of_the_collection(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.collections.create("small", precision="int8")
        row = NewVector(np.eye(16, dtype=np.float32)[0], "a")
        for precision in ("int8", None):
            origin = VectorOrigin(TINY, 1, precision)
            added = await opened.collections.add_vectors("small", origin, [row])
            assert added.model.precision == "int8"
        with pytest.raises(
            Conflict, match=r"are of tiny/1 \(fp32\), and this .* keeps those of tiny/1 \(int8"
        ):
            await opened.collections.add_vectors("small", VectorOrigin(TINY, 1, "fp32"), [row])

    run(story)


def test_images_that_are_deleted_during_the_change_do_not_come_back(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened, "pets")
        rollout = await opened.rollouts.move_collection("pets", precision="int8")
        assert rollout is not None
        await opened.collections.images.delete("pets", "red")
        await opened.end_of(rollout)
        with opened.collections.using("pets") as vectors:
            query = (await vectors.pipeline.embedder.embed_text("red")).embedding
            hits = await opened.collections.search("pets", query, k=9)
        assert sorted(hit.id for hit in hits) == ["blue", "green"]

    run(story)


def test_two_changes_in_a_row_end_at_the_second_and_drops_end_both(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened, "pets")
        await opened.rollouts.move_collection("pets", precision="int8")
        await opened.take("pets", SERVER)
        assert await precision_of(opened, "pets") == (SERVER, "fp32")
        assert await best(opened, "pets", "blue") == "blue"
        await opened.rollouts.move_collection("pets", precision="int8")
        await opened.collections.drop("pets")
        await until(lambda: len(opened.pipelines.loaded()) == 1)

    run(story)


def test_precision_that_is_not_there_any_more_leaves_the_collection_readable_and_says_why(
    run: Run,
) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened, "small", "int8")

    async def without(opened: Opened) -> None:
        collections = opened.collections
        info = await collections.get("small")
        assert (info.state, info.n_images, info.n_embedded, info.precision) == ("no_precision", 3, 0, "int8")
        assert info.reason == f"{TINY}/1 has no precision 'int8', only fp32; 'server' means the server's own"
        assert collections.n_without_precision == 1
        assert (await collections.stats("small")).vectors is None
        for refused in (
            collections.add_many("small", [NewImage(picture("white"))]),
            collections.images.embedding("small", "red"),
            collections.search("small", np.zeros(16, np.float32), k=1),
            collections.images.delete_matching("small", None, lacking=True, preview=True),
            collections.images.delete_matching("small", None, lacking=True, preview=False),
        ):
            with pytest.raises(
                Conflict, match="'small' has vectors of precision int8: tiny/1 has no precision"
            ):
                await refused
        assert await collections.images.original("small", "red") == (picture("red"), "image/png")
        await collections.images.delete("small", "red")
        await collections.change("small", CollectionChange(keep="none"))
        assert (await collections.get("small")).precision == "int8"

    async def back(opened: Opened) -> None:
        assert (await opened.collections.get("small")).state == "ready"
        assert (await opened.collections.get("small")).n_embedded == 2

    async def given_up(opened: Opened) -> None:
        await opened.take("small", SERVER)
        await ready(opened, "small")
        assert opened.collections.n_without_precision == 0
        assert (await opened.collections.get("small")).reason == ""

    run(story)
    run(without, precisions=("fp32",))
    run(back)
    run(given_up, precisions=("fp32",))

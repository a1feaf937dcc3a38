"""Collections of the tiny model: adding, finding, replacing, deleting and listing images."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from diptych.adapters.sqlite.store import DATABASE
from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.core.types import NewImage
from diptych.errors import Conflict, InvalidValue, NotFound, TooLarge, UndecodableImage
from integration.store_parts import COLOURS, Opened, Run, add_colours, look, tiny_png
from support.pictures import noise, picture


def test_added_images_are_found_by_words_at_once_and_after_a_restart(run: Run) -> None:
    async def before(opened: Opened) -> None:
        await add_colours(opened)
        for colour in ("red", "blue", "yellow"):
            words = await opened.embedder.embed_text(colour)
            assert await opened.ids(words.embedding, k=1) == [colour]
        assert opened.metrics.collections == {"default": 4}

    async def after(opened: Opened) -> None:
        for colour in COLOURS:
            assert (await opened.ids(await look(opened, colour), k=1)) == [colour]
        info = await opened.collections.get("default")
        assert (info.n_images, info.n_embedded, info.state, info.model) == (4, 4, "ready", "tiny")

    run(before)
    run(after)


def test_search_is_the_exact_ranking_with_offset_and_filter(run: Run) -> None:
    async def story(opened: Opened) -> None:
        items = [NewImage(tiny_png(n), f"i{n:02}", {"n": n}) for n in range(50)]
        await opened.collections.add_many("default", items)
        query = await look(opened, "red")
        rows = np.stack(
            [await opened.collections.images.embedding("default", item.id or "") for item in items]
        )
        ranked = [f"i{n:02}" for n in np.argsort(-(rows @ query), kind="stable")]
        assert await opened.ids(query, k=50) == ranked
        assert await opened.ids(query, k=7, offset=11) == ranked[11:18]
        assert await opened.ids(query, k=7, offset=60) == []
        few = parse_filter({"n": {"lt": 20}, "not": {"n": {"in": [3, 4]}}})
        expected = [id for id in ranked if int(id[1:]) < 20 and id not in {"i03", "i04"}]
        assert await opened.ids(query, k=5, offset=2, filter=few) == expected[2:7]
        (best,) = await opened.search("default", query, k=1)
        assert best.cosine == pytest.approx(float((rows @ query).max()), abs=1e-5)
        assert best.relevance is None
        assert best.metadata == {"n": int(best.id[1:])}

    run(story)


def test_adding_the_same_again_is_unchanged_and_costs_no_encoding(run: Run) -> None:
    async def story(opened: Opened) -> None:
        first = await opened.add("default", picture("red"), metadata={"a": 1})
        n_batches = len(opened.metrics.batches)
        again = await opened.add("default", picture("red"), metadata={"a": 2})
        assert (first.status, again.status) == ("created", "unchanged")
        assert first.id == again.id
        assert first.id == (await opened.collections.images.get("default", first.id or "")).sha256[:32]
        assert len(opened.metrics.batches) == n_batches
        assert (await opened.collections.images.get("default", first.id or "")).metadata == {"a": 1}

    run(story)


def test_taken_id_is_a_conflict_unless_replace_is_asked_for(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", picture("red"), "x", {"a": 1})
        refused = await opened.add("default", picture("blue"), "x")
        assert refused.status == "failed"
        assert isinstance(refused.error, Conflict)
        assert len(opened.files()) == 1
        replaced = await opened.add("default", picture("blue"), "x", replace=True)
        assert replaced.status == "replaced"
        record = await opened.collections.images.get("default", "x")
        assert record.metadata == {"a": 1}
        assert opened.files() == [record.sha256]
        assert await opened.collections.images.original("default", "x") == (picture("blue"), "image/png")
        (hit,) = await opened.search("default", await look(opened, "blue"), k=5)
        assert (hit.id, hit.cosine) == ("x", pytest.approx(1, abs=1e-4))
        same = await opened.add("default", picture("blue"), "x", {"a": 2}, replace=True)
        assert same.status == "replaced"
        assert (await opened.collections.images.get("default", "x")).metadata == {"a": 2}
        assert (await opened.collections.get("default")).n_images == 1

    run(story)


def test_bad_items_of_an_add_fail_alone(run: Run) -> None:
    async def story(opened: Opened) -> None:
        items = [
            NewImage(picture("red"), "good"),
            NewImage(picture("red")[:60], "cut"),
            NewImage(picture("blue"), "bad id"),
            NewImage(picture("blue"), "meta", {"x": "y" * 20_000}),
            NewImage(picture("green"), "good"),
            NewImage(picture("red"), "good"),
            NewImage(picture("green"), "fine"),
        ]
        outcomes = (await opened.collections.add_many("default", items)).outcomes
        assert [one.index for one in outcomes] == list(range(7))
        assert [one.status for one in outcomes] == [
            "created", "failed", "failed", "failed", "failed", "unchanged", "created",
        ]  # fmt: skip
        assert [type(one.error) for one in outcomes if one.error] == [
            UndecodableImage, InvalidValue, TooLarge, Conflict,
        ]  # fmt: skip
        assert (await opened.collections.get("default")).n_images == 2
        assert len(opened.files()) == 2

    run(story)


def test_id_replaced_within_one_add_keeps_its_last_image(run: Run) -> None:
    async def story(opened: Opened) -> None:
        items = [NewImage(picture(colour), "x") for colour in ("red", "blue", "red", "green")]
        outcomes = (await opened.collections.add_many("default", items, replace=True)).outcomes
        assert [one.status for one in outcomes] == ["created", "replaced", "replaced", "replaced"]
        hits = await opened.search("default", await look(opened, "green"), k=5)
        assert [(hit.id, round(hit.cosine, 3)) for hit in hits] == [("x", 1.0)]
        assert len(opened.files()) == 1

    run(story)


def test_deleted_image_leaves_nothing_behind(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.collections.create("second")
        await opened.add("second", picture("red"), "also-red")
        await opened.collections.images.thumbnail("default", "red", 64)
        await opened.collections.images.thumbnail("default", "blue", 64)
        await opened.collections.images.delete("default", "blue")
        await opened.collections.images.delete("default", "red")
        assert set(await opened.ids(await look(opened, "red"))) == {"green", "yellow"}
        with pytest.raises(NotFound):
            await opened.collections.images.get("default", "red")
        with pytest.raises(NotFound):
            await opened.collections.images.delete("default", "red")
        red = (await opened.collections.images.get("second", "also-red")).sha256
        # green, yellow, and red with its thumbnail, which `second` still uses
        assert len(opened.files()) == 4
        assert f"{red}-64" in opened.files()
        with closing(sqlite3.connect(opened.data_dir / DATABASE)) as db:
            assert db.execute("SELECT count(*) FROM embeddings").fetchone() == (3,)
        await opened.collections.drop("second")
        assert len(opened.files()) == 2
        with pytest.raises(NotFound):
            await opened.collections.get("second")
        assert opened.metrics.collections == {"default": 2, "second": None}

    run(story)


def test_pages_are_stable_while_images_come_and_go(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.collections.add_many(
            "default", [NewImage(tiny_png(n), f"{n:02}") for n in range(0, 40, 2)]
        )
        seen: list[str] = []
        after: str | None = None
        while True:
            page, after = await opened.collections.images.list("default", after, 6)
            seen += [record.id for record in page]
            if after is None:
                break
            await opened.add("default", tiny_png(1), "01")
            await opened.collections.images.delete("default", page[-1].id)
        assert seen == [f"{n:02}" for n in range(0, 40, 2)]

    run(story)


def test_metadata_is_patched_by_merging(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", picture("red"), "x", {"a": 1, "b": {"c": 2, "d": 3}})
        record = await opened.collections.images.patch("default", "x", {"a": None, "b": {"c": 4}})
        assert record.metadata == {"b": {"c": 4, "d": 3}}
        assert (await opened.collections.images.get("default", "x")).metadata == {"b": {"c": 4, "d": 3}}
        with pytest.raises(TooLarge):
            await opened.collections.images.patch("default", "x", {"e": "x" * 20_000})
        with pytest.raises(NotFound):
            await opened.collections.images.patch("default", "y", {"a": 1})
        assert (await opened.collections.images.get("default", "x")).metadata == {"b": {"c": 4, "d": 3}}

    run(story)


def test_thumbnail_is_kept_and_its_sizes_are_a_closed_set(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", noise(0, (300, 200)), "x")
        made = await opened.collections.images.thumbnail("default", "x", 64)
        assert await opened.collections.images.thumbnail("default", "x", 64) == made
        assert len(opened.files()) == 2
        with pytest.raises(InvalidValue, match="size 65 is not one of 64, 128"):
            await opened.collections.images.thumbnail("default", "x", 65)

    run(story)


def test_names_are_taken_once_and_unknown_ones_named(run: Run) -> None:
    async def story(opened: Opened) -> None:
        with pytest.raises(Conflict):
            await opened.collections.create("default")
        with pytest.raises(InvalidValue):
            await opened.collections.create("No Good")
        with pytest.raises(NotFound, match="no collection named 'nowhere'"):
            await opened.add("nowhere", picture("red"))
        await opened.collections.create("a")
        assert [info.name for info in await opened.collections.list()] == ["a", "default"]
        with pytest.raises(InvalidValue, match="min_relevance"):
            await opened.ids(np.ones(16, np.float32), min_relevance=0.5)

    run(story)

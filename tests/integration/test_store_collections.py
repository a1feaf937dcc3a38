import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.admission import Admission
from diptych.core.filter_parser import parse_filter
from diptych.core.types import NewImage
from diptych.errors import Conflict, InvalidValue, NotFound, NotReady, StoreError, TooLarge, UndecodableImage
from integration.store_parts import Opened, tiny_png
from support.pictures import noise, picture
from support.tiny_bundle import write_tiny_bundle
from unit.core.core_fakes import until

Run = Callable[[Callable[[Opened], Coroutine[Any, Any, None]]], None]
COLOURS = ("red", "green", "blue", "yellow")


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model_repo")
    write_tiny_bundle(root)
    write_tiny_bundle(root, seed=1)
    write_tiny_bundle(root, "other")
    return root


@pytest.fixture
def run(model_repo: Path, tmp_path: Path) -> Run:
    def run_version(story: Callable[[Opened], Coroutine[Any, Any, None]], **options: Any) -> None:
        async def whole() -> None:
            async with Opened(model_repo, tmp_path / "data", **({"version": 1} | options)) as opened:
                await story(opened)

        asyncio.run(whole())

    return run_version


async def add_colours(opened: Opened) -> None:
    items = [NewImage(picture(colour), colour, {"length": len(colour)}) for colour in COLOURS]
    outcomes = (await opened.collections.add_many("default", items)).outcomes
    assert [(one.index, one.id, one.status) for one in outcomes] == [
        (n, colour, "created") for n, colour in enumerate(COLOURS)
    ]


async def look(opened: Opened, colour: str) -> Any:
    return await opened.embedder.embed_image(picture(colour))


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
        rows = np.stack([await opened.collections.embedding_of("default", item.id or "") for item in items])
        ranked = [f"i{n:02}" for n in np.argsort(-(rows @ query), kind="stable")]
        assert await opened.ids(query, k=50) == ranked
        assert await opened.ids(query, k=7, offset=11) == ranked[11:18]
        assert await opened.ids(query, k=7, offset=60) == []
        few = parse_filter({"n": {"lt": 20}, "not": {"n": {"in": [3, 4]}}})
        expected = [id for id in ranked if int(id[1:]) < 20 and id not in {"i03", "i04"}]
        assert await opened.ids(query, k=5, offset=2, filter=few) == expected[2:7]
        (best,) = await opened.collections.search("default", query, k=1)
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
        assert first.id == (await opened.collections.get_image("default", first.id or "")).sha256[:32]
        assert len(opened.metrics.batches) == n_batches
        assert (await opened.collections.get_image("default", first.id or "")).metadata == {"a": 1}

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
        record = await opened.collections.get_image("default", "x")
        assert record.metadata == {"a": 1}
        assert opened.files() == [record.sha256]
        assert await opened.collections.original("default", "x") == (picture("blue"), "image/png")
        (hit,) = await opened.collections.search("default", await look(opened, "blue"), k=5)
        assert (hit.id, hit.cosine) == ("x", pytest.approx(1, abs=1e-4))
        same = await opened.add("default", picture("blue"), "x", {"a": 2}, replace=True)
        assert same.status == "replaced"
        assert (await opened.collections.get_image("default", "x")).metadata == {"a": 2}
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
        hits = await opened.collections.search("default", await look(opened, "green"), k=5)
        assert [(hit.id, round(hit.cosine, 3)) for hit in hits] == [("x", 1.0)]
        assert len(opened.files()) == 1

    run(story)


def test_deleted_image_leaves_nothing_behind(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.collections.create("second")
        await opened.add("second", picture("red"), "also-red")
        await opened.collections.thumbnail("default", "red", 64)
        await opened.collections.thumbnail("default", "blue", 64)
        await opened.collections.delete("default", "blue")
        await opened.collections.delete("default", "red")
        assert set(await opened.ids(await look(opened, "red"))) == {"green", "yellow"}
        with pytest.raises(NotFound):
            await opened.collections.get_image("default", "red")
        with pytest.raises(NotFound):
            await opened.collections.delete("default", "red")
        red = (await opened.collections.get_image("second", "also-red")).sha256
        # green, yellow, and red with its thumbnail, which `second` still uses
        assert len(opened.files()) == 4
        assert f"{red}-64" in opened.files()
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
            page, after = await opened.collections.list_images("default", after, 6)
            seen += [record.id for record in page]
            if after is None:
                break
            await opened.add("default", tiny_png(1), "01")
            await opened.collections.delete("default", page[-1].id)
        assert seen == [f"{n:02}" for n in range(0, 40, 2)]

    run(story)


def test_metadata_is_patched_by_merging(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", picture("red"), "x", {"a": 1, "b": {"c": 2, "d": 3}})
        record = await opened.collections.patch("default", "x", {"a": None, "b": {"c": 4}})
        assert record.metadata == {"b": {"c": 4, "d": 3}}
        assert (await opened.collections.get_image("default", "x")).metadata == {"b": {"c": 4, "d": 3}}
        with pytest.raises(TooLarge):
            await opened.collections.patch("default", "x", {"e": "x" * 20_000})
        with pytest.raises(NotFound):
            await opened.collections.patch("default", "y", {"a": 1})
        assert (await opened.collections.get_image("default", "x")).metadata == {"b": {"c": 4, "d": 3}}

    run(story)


def test_thumbnail_is_kept_and_its_sizes_are_a_closed_set(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", noise(0, (300, 200)), "x")
        made = await opened.collections.thumbnail("default", "x", 64)
        assert await opened.collections.thumbnail("default", "x", 64) == made
        assert len(opened.files()) == 2
        with pytest.raises(InvalidValue, match="size 65 is not one of 64, 128"):
            await opened.collections.thumbnail("default", "x", 65)

    run(story)


def test_write_finishes_when_the_client_goes_away(run: Run) -> None:
    async def story(opened: Opened) -> None:
        put, written = opened.records.put, asyncio.Event()

        async def slow_put(*values: Any, **named: Any) -> Any:
            written.set()
            await asyncio.sleep(0.02)
            return await put(*values, **named)

        opened.records.put = slow_put  # type: ignore[method-assign]
        adding = asyncio.create_task(opened.add("default", picture("red"), "x"))
        await written.wait()
        adding.cancel()
        await asyncio.wait([adding])
        assert adding.cancelled()
        await opened.add("default", picture("blue"), "y")
        assert set(await opened.ids(await look(opened, "red"))) == {"x", "y"}

    run(story)


def test_new_version_embeds_kept_images_again_before_it_is_searched(run: Run, model_repo: Path) -> None:
    gate = threading.Event()

    async def with_version_2(opened: Opened) -> None:
        info = await opened.collections.get("default")
        assert (info.state, info.n_images, info.n_embedded) == ("embedding", 4, 0)
        with pytest.raises(NotReady, match="0 of 4 images done"):
            await opened.ids(np.ones(16, np.float32))
        with pytest.raises(NotReady):
            await opened.collections.embedding_of("default", "red")
        await opened.collections.delete("default", "yellow")
        gate.set()
        await until(lambda: opened.collections._shelves["default"].state == "ready")
        assert (await opened.collections.get("default")).n_embedded == 3
        for colour in ("red", "green", "blue"):
            assert (await opened.ids(await look(opened, colour), k=1)) == [colour]
            stored = await opened.collections.embedding_of("default", colour)
            assert stored == pytest.approx(await opened.embedder.embed_image(picture(colour)), abs=1e-6)

    async def gated() -> None:
        opened = Opened(model_repo, run_dir, version=2)
        encode = opened.encode_image
        opened.encode_image = lambda items, on_start: (gate.wait(10), encode(items, on_start))[1]
        async with opened:
            await with_version_2(opened)

    run_dir: Path = Path()

    async def with_version_1(opened: Opened) -> None:
        nonlocal run_dir
        run_dir = opened.data_dir
        await add_colours(opened)

    async def back_to_version_1(opened: Opened) -> None:
        assert (await opened.collections.get("default")).state == "ready"
        assert await opened.ids(await look(opened, "red"), k=1) == ["red"]

    run(with_version_1)
    asyncio.run(gated())
    run(back_to_version_1)


def test_image_whose_file_is_lost_does_not_stop_the_others(run: Run) -> None:
    async def before(opened: Opened) -> None:
        await add_colours(opened)
        lost = (await opened.collections.get_image("default", "red")).sha256
        next((opened.data_dir / "images").glob(f"*/{lost}")).unlink()

    async def after(opened: Opened) -> None:
        await until(lambda: opened.collections._shelves["default"].state == "ready")
        info = await opened.collections.get("default")
        assert (info.n_images, info.n_embedded) == (4, 3)
        assert len(await opened.ids(await look(opened, "red"))) == 3

    run(before)
    run(after, version=2)  # type: ignore[call-arg]


def test_collection_of_another_model_can_be_read_but_not_searched(run: Run) -> None:
    async def other(opened: Opened) -> None:
        assert (await opened.collections.get("default")).state == "other_model"
        with pytest.raises(Conflict, match="belongs to model 'tiny'"):
            await opened.ids(np.ones(16, np.float32))
        with pytest.raises(Conflict):
            await opened.add("default", picture("black"))
        assert (await opened.collections.original("default", "red"))[0] == picture("red")
        await opened.collections.delete("default", "red")
        assert (await opened.collections.get("default")).n_images == 3

    run(add_colours)
    run(other, model="other")  # type: ignore[call-arg]


def test_files_that_no_row_uses_are_removed_at_the_start(run: Run) -> None:
    async def leave_orphans(opened: Opened) -> None:
        await add_colours(opened)
        await opened.images.put({"ab" + "0" * 62: b"orphan"})
        await opened.images.put_thumbnail("cd" + "0" * 62, 64, b"orphan")
        (opened.data_dir / "images" / "ab" / ".tmp-1").write_bytes(b"half")
        assert len(opened.files()) == 7

    async def after(opened: Opened) -> None:
        assert len(opened.files()) == 4

    run(leave_orphans)
    run(after)


def test_file_of_the_last_image_is_removed_at_the_start_when_its_delete_was_killed_before_that(
    run: Run,
) -> None:
    async def deleted_but_for_its_file(opened: Opened) -> None:
        await opened.add("default", picture("red"), "red")
        await opened.collections.thumbnail("default", "red", 64)
        await opened.records.delete("default", "red")
        assert len(opened.files()) == 2

    async def after(opened: Opened) -> None:
        assert opened.files() == []

    run(deleted_but_for_its_file)
    run(after)


def test_file_of_a_first_add_that_was_killed_is_removed_at_the_start(run: Run) -> None:
    async def before(opened: Opened) -> None:
        await opened.images.put({"ab" + "0" * 62: b"its row was never committed"})

    async def after(opened: Opened) -> None:
        assert opened.files() == []

    run(before)
    run(after)


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


def test_collection_dropped_while_images_are_encoded_takes_none(run: Run) -> None:
    async def story(opened: Opened) -> None:
        entered, gate, encode = threading.Event(), threading.Event(), opened.encode_image
        opened.encode_image = lambda items, on_start: (entered.set(), gate.wait(10), encode(items, on_start))[
            2
        ]
        adding = asyncio.create_task(opened.add("default", picture("red"), "x"))
        await asyncio.to_thread(entered.wait)
        await opened.collections.drop("default")
        await opened.collections.create("default")
        gate.set()
        with pytest.raises(NotFound):
            await adding
        assert (await opened.collections.get("default")).n_images == 0
        assert opened.files() == []

    run(story)


def test_add_that_the_database_refuses_leaves_no_file_and_acknowledges_nothing(run: Run) -> None:
    async def story(opened: Opened) -> None:
        put = opened.records.put

        async def refuse(*values: Any, **named: Any) -> Any:
            raise StoreError("database or disk is full")

        opened.records.put = refuse  # type: ignore[method-assign]
        with pytest.raises(StoreError):
            await opened.add("default", picture("red"), "x")
        assert opened.files() == []
        opened.records.put = put  # type: ignore[method-assign]
        assert (await opened.add("default", picture("red"), "x")).status == "created"

    run(story)


def test_add_that_the_index_refuses_is_listed_and_counted_and_heals_when_added_again(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", picture("blue"), "blue")
        index = opened.collections._shelves["default"].index

        async def refuse(*values: Any) -> None:
            raise RuntimeError("rows of another width")

        apply, index.apply = index.apply, refuse  # type: ignore[method-assign]
        with pytest.raises(RuntimeError):
            await opened.add("default", picture("red"), "red")
        with pytest.raises(RuntimeError):
            await opened.collections.delete("default", "blue")
        index.apply = apply  # type: ignore[method-assign]

        listed, _ = await opened.collections.list_images("default", None, 10)
        info = await opened.collections.get("default")
        assert ([image.id for image in listed], info.n_images, info.n_embedded) == (["red"], 1, 0)
        assert opened.metrics.collections == {"default": 1}
        assert await opened.ids(await look(opened, "red")) == []
        lacking = await opened.collections.delete_matching("default", None, lacking=True, preview=False)
        assert lacking.n_images == 0  # its vector is kept, and a start would put it into the index

        assert (await opened.add("default", picture("red"), "red")).status == "unchanged"
        assert (await opened.collections.get("default")).n_embedded == 1
        assert await opened.ids(await look(opened, "red")) == ["red"]

    async def after(opened: Opened) -> None:
        assert await opened.ids(await look(opened, "red")) == ["red"]
        assert (await opened.collections.get("default")).n_images == 1

    run(story)
    run(after)


def test_concurrent_adds_of_one_id_agree_on_one_image(run: Run) -> None:
    async def story(opened: Opened) -> None:
        payloads = [picture(colour) for colour in COLOURS] * 3
        outcomes = await asyncio.gather(*(opened.add("default", one, "x") for one in payloads))
        kept, _ = await opened.collections.original("default", "x")
        for payload, outcome in zip(payloads, outcomes, strict=True):
            assert (outcome.status == "failed") == (payload != kept)
        assert [outcome.status for outcome in outcomes].count("created") == 1
        assert len(opened.files()) == 1
        assert await opened.ids(await look(opened, "red")) == ["x"]

    run(story)


def test_stopping_while_embedding_again_loses_nothing(run: Run) -> None:
    async def stop_at_once(opened: Opened) -> None:
        assert (await opened.collections.get("default")).state == "embedding"

    async def finish(opened: Opened) -> None:
        await until(lambda: opened.collections._shelves["default"].state == "ready")
        assert (await opened.collections.get("default")).n_embedded == 4

    run(add_colours)
    run(stop_at_once, version=2)  # type: ignore[call-arg]
    run(finish, version=2)  # type: ignore[call-arg]


def test_search_in_a_collection_that_is_dropped_meanwhile_finds_no_collection(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        query, entered, gate = await look(opened, "red"), threading.Event(), threading.Event()

        class Slow:
            def matches(self, metadata: Any) -> bool:
                entered.set()
                return gate.wait(10)

        searching = asyncio.create_task(opened.ids(query, filter=Slow()))
        await asyncio.to_thread(entered.wait)
        await opened.collections.drop("default")
        gate.set()
        with pytest.raises(NotFound, match="was dropped"):
            await searching

    run(story)


def test_adding_an_image_again_heals_its_lost_or_damaged_file(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", picture("red"), "x")
        (file,) = (opened.data_dir / "images").glob("*/*")
        file.unlink()
        assert (await opened.add("default", picture("red"), "x")).status == "unchanged"
        assert file.read_bytes() == picture("red")
        file.write_bytes(b"junk")
        assert (await opened.add("default", picture("red"), "y")).status == "created"
        assert (await opened.collections.original("default", "y"))[0] == picture("red")

    run(story)


def test_image_left_out_as_its_file_was_lost_is_searchable_once_added_again(run: Run) -> None:
    async def before(opened: Opened) -> None:
        await add_colours(opened)
        lost = (await opened.collections.get_image("default", "red")).sha256
        next((opened.data_dir / "images").glob(f"*/{lost}")).unlink()

    async def after(opened: Opened) -> None:
        await until(lambda: opened.collections._shelves["default"].state == "ready")
        assert (await opened.collections.get("default")).n_embedded == 3
        n_batches = len(opened.metrics.batches)
        assert (await opened.add("default", picture("blue"), "blue")).status == "unchanged"
        assert len(opened.metrics.batches) == n_batches
        assert (await opened.add("default", picture("red"), "red")).status == "unchanged"
        assert (await opened.collections.get("default")).n_embedded == 4
        assert await opened.ids(await look(opened, "red"), k=1) == ["red"]
        assert len(await opened.ids(await look(opened, "red"))) == 4

    run(before)
    run(after, version=2)  # type: ignore[call-arg]


@pytest.mark.parametrize(("max_items", "max_bytes"), [(3, 10**9), (256, 2_000)])
def test_embedding_again_fits_into_a_small_queue(run: Run, max_items: int, max_bytes: int) -> None:
    async def before(opened: Opened) -> None:
        await opened.collections.add_many("default", [NewImage(noise(n, (16, 16))) for n in range(10)])

    async def after(opened: Opened) -> None:
        await until(lambda: opened.collections._shelves["default"].state != "embedding")
        info = await opened.collections.get("default")
        assert (info.state, info.n_embedded) == ("ready", 10)

    run(before)
    run(after, version=2, admission=Admission(max_items=max_items, max_bytes=max_bytes))  # type: ignore[call-arg]


def test_embedding_again_that_ends_early_says_so_and_why(run: Run) -> None:
    async def broken(opened: Opened) -> None:
        async def refuse(*values: Any) -> Any:
            raise StoreError("database or disk is full")

        opened.records.put_embeddings = refuse  # type: ignore[method-assign]
        await until(lambda: opened.collections._shelves["default"].state == "failed")
        assert (await opened.collections.get("default")).reason == "database or disk is full"
        with pytest.raises(NotReady, match=r"could not be embedded .*: database or disk is full"):
            await opened.ids(np.ones(16, np.float32))

    async def mended(opened: Opened) -> None:
        await until(lambda: opened.collections._shelves["default"].state == "ready")
        info = await opened.collections.get("default")
        assert (info.n_embedded, info.reason) == (4, "")

    run(add_colours)
    run(broken, version=2)  # type: ignore[call-arg]
    run(mended, version=2)  # type: ignore[call-arg]

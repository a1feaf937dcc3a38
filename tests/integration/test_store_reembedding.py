"""Events during embedding again: no image is lost, or found by a wrong vector."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.collections.filter_parser import parse_filter
from diptych.core.types import SERVER, CollectionChange, CollectionInfo, Deletion, Embeddings, NewImage
from diptych.errors import NotReady, StoreError, StoreFull
from integration.store_parts import Opened, Story, embedded, writes_held_up
from support.pictures import picture
from unit.core.core_fakes import until

Page = asyncio.Future[None]
COLOURS = ["blue", "green", "red"]
ALL = 100
ANY = parse_filter({"n": {"exists": False}})
GIVEN_UP = "collection pets: dropped, or has another precision now"


@pytest.fixture
def run(model_repo: Path, tmp_path: Path) -> Callable[[Story], None]:
    def run_story(story: Story) -> None:
        async def whole() -> None:
            precisions = ("fp32", "int8", "int4")
            async with Opened(model_repo, tmp_path / "data", 1, precisions=precisions) as opened:
                await opened.collections.create("pets")
                for colour in COLOURS:
                    await opened.add("pets", picture(colour), colour)
                await story(opened)

        asyncio.run(whole())

    return run_story


async def held_back(opened: Opened, precision: str, monkeypatch: pytest.MonkeyPatch) -> list[Page]:
    """What this precision makes of kept images comes, or fails, with its future, one for each page of images.

    Images that are added are not held back.
    """
    pages: list[Page] = []
    await opened.collections.create(precision, precision=precision)
    with opened.collections.using(precision) as pipeline:
        embed = pipeline.embedder.embed_images

        async def held(payloads: Sequence[bytes], on_decoded: Any = None) -> Any:
            outcomes = await embed(payloads, on_decoded)
            if on_decoded is None:
                pages.append(asyncio.get_running_loop().create_future())
                await pages[-1]
            return outcomes

        monkeypatch.setattr(pipeline.embedder, "embed_images", held)
    return pages


async def take(opened: Opened, precision: str) -> CollectionInfo:
    return await opened.collections.change("pets", CollectionChange(precision=precision))


async def in_state(opened: Opened, state: str) -> CollectionInfo:
    info = await embedded(opened, "pets")
    assert info.state == state
    return info


async def delete_lacking(opened: Opened, filter: Any = None, *, preview: bool = False) -> Deletion:
    return await opened.collections.delete_matching("pets", filter, lacking=True, preview=preview)


async def require_found(opened: Opened, ids: Sequence[str], shift: int) -> None:
    """Each by its own vector, which the precision has shifted, and none twice."""
    for id in ids:
        exact = await opened.embedder.embed_image(picture(id))
        expected = np.roll(exact, shift)
        assert np.allclose(await opened.collections.embedding_of("pets", id), expected, atol=1e-6)
        hits = await opened.collections.search("pets", expected, k=ALL)
        assert (hits[0].id, hits[0].cosine) == (id, pytest.approx(1, abs=1e-5))
        assert sorted(hit.id for hit in hits) == sorted(ids)
    assert await opened.listed("pets") == sorted(ids)


def test_nothing_is_deleted_as_lacking_while_images_are_embedded(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        pages = await held_back(opened, "int8", monkeypatch)
        await take(opened, "int8")
        await until(lambda: pages)
        for filter in (None, ANY):
            for preview in (True, False):
                with pytest.raises(NotReady, match="'pets' is being embedded: which images cannot be found"):
                    await delete_lacking(opened, filter, preview=preview)
        pages[0].set_result(None)
        await in_state(opened, "ready")
        assert await delete_lacking(opened) == Deletion(0)
        await require_found(opened, COLOURS, shift=1)

    run(story)


def test_deletion_of_what_lacks_that_has_its_turn_after_a_change_of_precision_deletes_nothing(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        pages = await held_back(opened, "int8", monkeypatch)
        async with writes_held_up(opened):
            changing = asyncio.create_task(take(opened, "int8"))
            await until(lambda: opened.write_queue.n_open == 2)
            assert (await opened.collections.get("pets")).state == "ready"
            deleting = [asyncio.create_task(delete_lacking(opened, filter)) for filter in (None, ANY)]
            await until(lambda: opened.write_queue.n_open == 4)
        for one in deleting:
            with pytest.raises(NotReady, match="which images cannot be found is not known yet"):
                await one
        await changing
        await until(lambda: pages)
        pages[0].set_result(None)
        await in_state(opened, "ready")
        await require_found(opened, COLOURS, shift=1)

    run(story)


def test_nothing_is_deleted_as_lacking_after_embedding_failed_and_the_same_precision_tries_again(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        async def full(*args: Any) -> list[int]:
            raise StoreFull("no space is left")

        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(opened.records, "put_embeddings", full)
            await take(opened, "int8")
            assert (await in_state(opened, "failed")).reason == "no space is left"
            assert (await take(opened, "int8")).state == "embedding"
            await in_state(opened, "failed")
        hint = "no space is left.*To try again, set its precision to 'int8', or start the server again"
        for filter in (None, ANY):
            for preview in (True, False):
                with pytest.raises(NotReady, match=f"was not embedded completely .{hint}"):
                    await delete_lacking(opened, filter, preview=preview)
        with pytest.raises(NotReady, match=f"could not be embedded for this model version: {hint}"):
            await opened.collections.search("pets", np.eye(16, dtype=np.float32)[0], k=1)
        assert (await take(opened, "int8")).reason == ""
        await in_state(opened, "ready")
        await require_found(opened, COLOURS, shift=1)
        assert len(opened.pipelines.loaded()) == 2
        await take(opened, SERVER)
        assert len(opened.pipelines.loaded()) == 1  # nobody has taken it once too often

    run(story)


def test_change_that_could_not_read_all_vectors_is_tried_again_from_the_start(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await take(opened, "int8")
        await in_state(opened, "ready")
        whole = opened.records.embeddings

        async def cut_short(
            name: str, identity: str
        ) -> AsyncIterator[tuple[list[int], Embeddings, list[int]]]:
            async for keys, rows, damaged in whole(name, identity):
                yield keys[:2], rows[:2], damaged
            raise StoreError("the disk cannot be read")

        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(opened.records, "embeddings", cut_short)
            with pytest.raises(StoreError):
                await take(opened, SERVER)
        failed = await opened.collections.get("pets")
        assert (failed.state, failed.reason, failed.precision) == (
            "failed",
            "the disk cannot be read",
            SERVER,
        )
        with pytest.raises(NotReady):
            await delete_lacking(opened)
        assert (await take(opened, SERVER)).state == "ready"
        await require_found(opened, COLOURS, shift=0)

    run(story)


def test_vectors_that_come_after_the_next_change_of_precision_are_not_kept(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "diptych")

    async def story(opened: Opened) -> None:
        int8 = await held_back(opened, "int8", monkeypatch)
        int4 = await held_back(opened, "int4", monkeypatch)
        await take(opened, "int8")
        await until(lambda: int8)
        await take(opened, "int4")
        await until(lambda: int4)
        int8[0].set_result(None)
        await until(lambda: GIVEN_UP in caplog.messages)
        info = await opened.collections.get("pets")
        assert (info.state, info.n_embedded) == ("embedding", 0)
        int4[0].set_result(None)
        await in_state(opened, "ready")
        await require_found(opened, COLOURS, shift=2)

    run(story)


def test_there_and_back_is_not_done_when_the_first_way_there_is(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "diptych")

    async def story(opened: Opened) -> None:
        pages = await held_back(opened, "int8", monkeypatch)
        await take(opened, "int8")
        await until(lambda: pages)
        assert (await take(opened, SERVER)).state == "ready"
        await opened.add("pets", picture("white"), "white")  # of which the first run knows nothing
        await take(opened, "int8")
        await until(lambda: len(pages) == 2)
        pages[0].set_result(None)
        await until(lambda: GIVEN_UP in caplog.messages)
        info = await opened.collections.get("pets")
        assert (info.state, info.n_embedded) == ("embedding", 0)
        with pytest.raises(NotReady):
            await delete_lacking(opened)
        pages[1].set_result(None)
        await in_state(opened, "ready")
        await require_found(opened, [*COLOURS, "white"], shift=1)

    run(story)


def test_failure_of_a_run_that_is_out_of_date_says_nothing_of_the_one_after_it(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(opened: Opened) -> None:
        pages = await held_back(opened, "int8", monkeypatch)
        await take(opened, "int8")
        await until(lambda: pages)
        await take(opened, SERVER)
        await take(opened, "int8")
        await until(lambda: len(pages) == 2)
        pages[0].set_exception(RuntimeError("cannot be encoded"))
        await until(lambda: "embedding collection pets failed" in caplog.messages)
        assert (await opened.collections.get("pets")).state == "embedding"
        pages[1].set_result(None)
        await in_state(opened, "ready")
        await require_found(opened, COLOURS, shift=1)

    run(story)


def test_image_that_was_added_again_while_it_was_embedded_is_there_once(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        pages = await held_back(opened, "int8", monkeypatch)
        await take(opened, "int8")
        await until(lambda: pages)
        twice = [NewImage(picture("red"), "red")] * 2  # of an id that stands twice, nothing is decided early
        outcomes = (await opened.collections.add_many("pets", twice)).outcomes
        assert [outcome.status for outcome in outcomes] == ["unchanged", "unchanged"]
        assert (await opened.collections.get("pets")).n_embedded == 1
        pages[0].set_result(None)
        await in_state(opened, "ready")
        await require_found(opened, COLOURS, shift=1)

    run(story)


def test_images_that_cannot_be_embedded_again_are_logged_by_their_rows_alone(
    run: Callable[[Story], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(opened: Opened) -> None:
        sha256s = [(await opened.collections.get_image("pets", id)).sha256 for id in COLOURS]
        files = [tmp_path / "data" / "images" / sha256[:2] / sha256 for sha256 in sha256s]
        files[0].unlink()
        files[1].write_bytes(b"x")
        await take(opened, "int8")
        assert (await in_state(opened, "ready")).n_embedded == 1
        why = "collection pets: the image of row {} cannot be embedded: "
        assert why.format(1) + "the file of an image is missing" in caplog.messages
        assert any(text.startswith(why.format(2)) for text in caplog.messages)
        assert not [text for text in caplog.messages for sha256 in sha256s if sha256[:12] in text]

    run(story)

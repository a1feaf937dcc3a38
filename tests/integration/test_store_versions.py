"""Collections under another version or model are embedded again before searches, or left alone."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.concurrency.admission import Admission
from diptych.core.types import NewImage
from diptych.errors import Conflict, NotReady, StoreError
from integration.store_parts import Opened, Run, add_colours, embedded, look
from support.fixtures import model_repo_fixture
from support.pictures import noise, picture

model_repo = model_repo_fixture({}, {"seed": 1}, {"name": "other"})


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
        info = await embedded(opened)
        assert (info.state, info.n_embedded) == ("ready", 3)
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
        info = await embedded(opened)
        assert (info.state, info.n_images, info.n_embedded) == ("ready", 4, 3)
        assert len(await opened.ids(await look(opened, "red"))) == 3

    run(before)
    run(after, version=2)


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
    run(other, model="other")


def test_stopping_while_embedding_again_loses_nothing(run: Run) -> None:
    async def stop_at_once(opened: Opened) -> None:
        assert (await opened.collections.get("default")).state == "embedding"

    async def finish(opened: Opened) -> None:
        info = await embedded(opened)
        assert (info.state, info.n_embedded) == ("ready", 4)

    run(add_colours)
    run(stop_at_once, version=2)
    run(finish, version=2)


def test_image_left_out_as_its_file_was_lost_is_searchable_once_added_again(run: Run) -> None:
    async def before(opened: Opened) -> None:
        await add_colours(opened)
        lost = (await opened.collections.get_image("default", "red")).sha256
        next((opened.data_dir / "images").glob(f"*/{lost}")).unlink()

    async def after(opened: Opened) -> None:
        info = await embedded(opened)
        assert (info.state, info.n_embedded) == ("ready", 3)
        n_batches = len(opened.metrics.batches)
        assert (await opened.add("default", picture("blue"), "blue")).status == "unchanged"
        assert len(opened.metrics.batches) == n_batches
        assert (await opened.add("default", picture("red"), "red")).status == "unchanged"
        assert (await opened.collections.get("default")).n_embedded == 4
        assert await opened.ids(await look(opened, "red"), k=1) == ["red"]
        assert len(await opened.ids(await look(opened, "red"))) == 4

    run(before)
    run(after, version=2)


@pytest.mark.parametrize(("max_items", "max_bytes"), [(3, 10**9), (256, 2_000)])
def test_embedding_again_fits_into_a_small_queue(run: Run, max_items: int, max_bytes: int) -> None:
    async def before(opened: Opened) -> None:
        await opened.collections.add_many("default", [NewImage(noise(n, (16, 16))) for n in range(10)])

    async def after(opened: Opened) -> None:
        info = await embedded(opened)
        assert (info.state, info.n_embedded) == ("ready", 10)

    run(before)
    run(after, version=2, admission=Admission(max_items=max_items, max_bytes=max_bytes))


def test_embedding_again_that_ends_early_says_so_and_why(run: Run) -> None:
    async def broken(opened: Opened) -> None:
        async def refuse(*values: Any) -> Any:
            raise StoreError("database or disk is full")

        opened.records.put_embeddings = refuse  # type: ignore[method-assign]
        info = await embedded(opened)
        assert (info.state, info.reason) == ("failed", "database or disk is full")
        with pytest.raises(NotReady, match=r"could not be embedded .*: database or disk is full"):
            await opened.ids(np.ones(16, np.float32))

    async def mended(opened: Opened) -> None:
        info = await embedded(opened)
        assert (info.state, info.n_embedded, info.reason) == ("ready", 4, "")

    run(add_colours)
    run(broken, version=2)
    run(mended, version=2)

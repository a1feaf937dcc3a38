"""A collection whose version is gone is embedded for the active one: searches wait, nothing is lost."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.collections import registry
from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.core.types import Deletion
from diptych.errors import NotReady, StoreFull
from integration.store_parts import Opened, Story, embedded
from support.pictures import picture
from support.tiny_bundle import TINY, write_tiny_bundle
from unit.core.core_fakes import until

COLOURS = ["blue", "green", "red"]
ANY = parse_filter({"n": {"exists": False}})


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    """Fills `pets` with version 1, takes that version away, and runs a story on version 2."""
    repo = tmp_path / "repo"
    write_tiny_bundle(repo)
    write_tiny_bundle(repo, seed=1)

    async def fill() -> None:
        async with Opened(repo, tmp_path / "data", 1) as opened:
            await opened.collections.create("pets")
            for colour in COLOURS:
                await opened.add("pets", picture(colour), colour)

    asyncio.run(fill())
    (repo / TINY / "1").rename(repo / "elsewhere")

    def run_story(story: Story, before: Callable[[Opened], None] = lambda opened: None) -> None:
        async def whole() -> None:
            opened = Opened(repo, tmp_path / "data", 2)
            before(opened)
            async with opened:
                await story(opened)

        asyncio.run(whole())

    return run_story


class Gate:
    """Holds back what is embedded until it is open."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def install(self, opened: Opened) -> None:
        opened.before_encode = lambda: self.open.wait(10) and None


async def require_found(opened: Opened, *ids: str) -> None:
    """Each by its own vector, and none twice."""
    for id in ids:
        query = await opened.embedder.embed_image(picture(id))
        hits = await opened.search("pets", query, k=100)
        assert (hits[0].id, hits[0].cosine) == (id, pytest.approx(1, abs=1e-5))
        assert sorted(hit.id for hit in hits) == sorted(ids)


def test_searches_wait_and_nothing_is_deleted_as_lacking_meanwhile(run: Callable[..., None]) -> None:
    gate = Gate()

    async def story(opened: Opened) -> None:
        info = await opened.collections.get("pets")
        assert (info.state, info.n_images, info.n_embedded) == ("embedding", 3, 0)
        with pytest.raises(NotReady, match="0 of 3 images done"):
            await opened.search("pets", np.eye(16, dtype=np.float32)[0], k=1)
        for filter in (None, ANY):
            for preview in (True, False):
                with pytest.raises(NotReady, match="0 of 3 images done; which images cannot be found"):
                    await opened.collections.images.delete_matching(
                        "pets", filter, lacking=True, preview=preview
                    )
        await opened.collections.images.delete("pets", "green")
        gate.open.set()
        assert (await embedded(opened, "pets")).state == "ready"
        found = await opened.collections.images.delete_matching("pets", None, lacking=True, preview=False)
        assert found == Deletion(0)
        await require_found(opened, "blue", "red")

    run(story, gate.install)


def test_collection_that_could_not_be_embedded_says_why_and_is_tried_again(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*values: Any, **named: Any) -> Any:
        raise StoreFull("no space is left")

    def fill_disk(opened: Opened) -> None:
        put.append(opened.records.vectors.put)
        opened.records.vectors.put = full  # type: ignore[method-assign]

    put: list[Any] = []
    monkeypatch.setattr(registry, "RETRY_S", 0.01)

    async def story(opened: Opened) -> None:
        await until(lambda: opened.collections["pets"].info().reason == "no space is left")
        info = await opened.collections.get("pets")
        assert (info.state, info.reason) == ("embedding", "no space is left")
        with pytest.raises(NotReady, match="no space"):
            await opened.search("pets", np.eye(16, dtype=np.float32)[0], k=1)
        opened.records.vectors.put = put[0]  # type: ignore[method-assign]
        assert (await embedded(opened, "pets")).reason == ""
        await require_found(opened, *COLOURS)

    run(story, fill_disk)


def test_image_whose_file_is_lost_is_left_out_until_it_is_added_again(run: Callable[..., None]) -> None:
    def lose(opened: Opened) -> None:
        files = [file for file in (opened.data_dir / "images").glob("*/*") if file.read_bytes() == red]
        files[0].unlink()

    red = picture("red")

    async def story(opened: Opened) -> None:
        info = await embedded(opened, "pets")
        assert (info.state, info.n_images, info.n_embedded) == ("ready", 3, 2)
        await require_found(opened, "blue", "green")
        n_batches = len(opened.metrics.batches)
        assert (await opened.add("pets", picture("blue"), "blue")).status == "unchanged"
        assert len(opened.metrics.batches) == n_batches
        assert (await opened.add("pets", red, "red")).status == "unchanged"
        await require_found(opened, *COLOURS)

    run(story, lose)

"""Words of images that were there before are indexed in the background, after a start or for other fields."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.sqlite.store import DATABASE
from diptych.core.collections.metadata.words import parse_words
from diptych.core.types import CollectionChange, CollectionStats, NewImage
from integration.store_parts import Opened, Run, stories, tiny_png
from support.word_index import disagreeing_words

N = 450  # more than are indexed at once


@pytest.fixture
def run(model_repo: Path, tmp_path: Path) -> Run:
    """Run a story over one data folder. The next story finds what the earlier ones left."""
    return stories(model_repo, tmp_path)


async def filled(opened: Opened) -> None:
    items = [NewImage(tiny_png(n), f"i{n}", {"m": "red", "n": {"x": "blue"}}) for n in range(N)]
    for start in range(0, N, 64):
        await opened.collections.add_many("default", items[start : start + 64])


async def indexed(opened: Opened) -> CollectionStats:
    """Wait until the words of all images can be found."""
    while (stats := await opened.collections.stats("default")).sizes.n_unindexed:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return stats


async def n_found(opened: Opened, text: str) -> int:
    found = await opened.records.words.matching(opened.collections["default"].number, parse_words(text))
    return len(found.keys)


def test_collection_without_an_index_of_words_gets_it_at_the_start(run: Run, tmp_path: Path) -> None:
    run(filled)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        db.execute("DROP TABLE words_1")

    async def story(opened: Opened) -> None:
        await indexed(opened)
        assert await n_found(opened, "red blue") == N

    run(story)
    assert disagreeing_words(tmp_path) == []


def test_other_fields_are_indexed_again_and_indexing_goes_on_after_a_restart(
    run: Run, tmp_path: Path
) -> None:
    async def change(opened: Opened) -> None:
        await filled(opened)
        chosen = CollectionChange(text_fields=("n.x",), sets_text_fields=True)
        info = await opened.collections.change("default", chosen)
        assert info.text_fields == ("n.x",)
        info = await opened.collections.change("default", CollectionChange(keep="none"))
        assert info.text_fields == ("n.x",)

    async def go_on(opened: Opened) -> None:
        assert (await indexed(opened)).info.text_fields == ("n.x",)
        assert [await n_found(opened, word) for word in ("red", "blue")] == [0, N]
        await opened.collections.change("default", CollectionChange(sets_text_fields=True))
        assert (await indexed(opened)).info.text_fields is None
        assert [await n_found(opened, word) for word in ("red", "blue")] == [N, N]

    run(change)
    run(go_on)
    assert disagreeing_words(tmp_path) == []


def test_dropped_collection_ends_the_indexing_of_its_words(run: Run, caplog: Any) -> None:
    async def story(opened: Opened) -> None:
        await filled(opened)
        await opened.collections.change("default", CollectionChange(text_fields=(), sets_text_fields=True))
        await opened.collections.drop("default")
        created = await opened.collections.create("default", text_fields=("m",))
        assert created.text_fields == ("m",)
        await opened.add("default", tiny_png(1), "a", {"m": "red", "n": "blue"})
        assert [await n_found(opened, word) for word in ("red", "blue")] == [1, 0]

    run(story)
    assert "cannot be indexed" not in caplog.text

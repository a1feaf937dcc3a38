"""Searches where much of what they should find turns out to be damaged: few reads, and pages that fit."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.faiss_index import FaissFlatIndex
from diptych.adapters.sqlite_store import DATABASE, SqliteStore
from diptych.core.filters import Compare
from diptych.core.types import NewVector, VectorOrigin
from integration.store_parts import Opened
from support.tiny_bundle import EMBED_DIM, TINY, write_tiny_bundle

N = 600
QUERY = np.eye(EMBED_DIM, dtype=np.float32)[0]
EVERY = Compare(("n",), "gte", 0)
READS = ("by_key", "intact", "damaged", "matching_keys")
Story = Callable[[Opened], Awaitable[None]]


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repo")
    write_tiny_bundle(folder)
    return folder


@pytest.fixture
def tell(model_repo: Path, tmp_path: Path) -> Callable[[Story], None]:
    """Run a story over a collection of N images, "0" the nearest to QUERY, then "1" and so on."""

    async def whole(story: Story) -> None:
        async with Opened(model_repo, tmp_path, 1) as opened:
            angles = np.arange(N) * (np.pi / 2 / N)
            rows = np.zeros((N, EMBED_DIM), np.float32)
            rows[:, 0], rows[:, 1] = np.cos(angles), np.sin(angles)
            items = [NewVector(row, str(n), {"n": n}) for n, row in enumerate(rows)]
            await opened.collections.add_vectors("default", VectorOrigin(TINY, 1), items)
            await story(opened)

    return lambda story: asyncio.run(whole(story))


def damage(opened: Opened, numbers: range | list[int]) -> None:
    """Rows that nobody has looked at since."""
    with closing(sqlite3.connect(opened.data_dir / DATABASE, isolation_level=None)) as db:
        chosen = json.dumps([str(n) for n in numbers])
        done = db.execute(
            "UPDATE images SET width = 1000 WHERE id IN (SELECT value FROM json_each(?))", [chosen]
        )
        assert done.rowcount == len(numbers)


def ids(numbers: range) -> list[str]:
    return [str(n) for n in numbers]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What searches ask of the store, and "search" of the index, in order."""
    made: list[str] = []

    def noted(owner: type, name: str) -> None:
        method = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            return method(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    for name in READS:
        noted(SqliteStore, name)
    noted(FaissFlatIndex, "search")
    return made


@pytest.mark.parametrize("filter", [None, EVERY])
def test_search_gets_past_many_damaged_images_in_few_rounds(
    tell: Callable[[Story], None], calls: list[str], filter: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(opened: Opened) -> None:
        damage(opened, range(N - 5))
        calls.clear()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert await opened.ids(QUERY, k=2, filter=filter) == ids(range(N - 5, N - 3))
        assert calls.count("matching_keys") == (filter is not None)
        n_rounds = calls.count("search")
        assert n_rounds <= 10  # of 2, 6, 10, 18 rows and so on, where each round of 2 were 300
        assert len(calls) <= 5 * n_rounds + 1
        told = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
        assert len(told) <= 2 * n_rounds  # a line for each read
        info = await opened.collections.get("default")
        assert (info.n_images, info.n_embedded) == (N, 5)
        calls.clear()
        assert await opened.ids(QUERY, k=2) == ids(range(N - 5, N - 3))
        assert calls == ["search", "by_key"]

    tell(story)


def test_search_where_all_is_damaged_finds_nothing_and_ends(tell: Callable[[Story], None]) -> None:
    async def story(opened: Opened) -> None:
        damage(opened, range(N))
        assert await opened.ids(QUERY, k=3, offset=2) == []
        assert (await opened.collections.get("default")).n_embedded == 0

    tell(story)


def test_pages_of_a_search_do_not_overlap_where_a_damaged_image_lies_before_the_page(
    tell: Callable[[Story], None],
) -> None:
    async def story(opened: Opened) -> None:
        damage(opened, [3])
        second = await opened.ids(QUERY, k=5, offset=5)
        first = await opened.ids(QUERY, k=5)
        assert first + second == ["0", "1", "2", *ids(range(4, 11))]
        assert await opened.ids(QUERY, k=5, offset=5) == second

    tell(story)


def test_search_without_damage_asks_once_and_for_what_precedes_the_page_once_more(
    tell: Callable[[Story], None], calls: list[str]
) -> None:
    async def story(opened: Opened) -> None:
        for options, made in (
            ({}, ["search", "by_key"]),
            ({"filter": EVERY}, ["matching_keys", "search", "by_key"]),
            ({"offset": 5}, ["search", "by_key", "intact"]),
        ):
            calls.clear()
            await opened.ids(QUERY, k=5, **options)
            assert calls == made

    tell(story)


def test_one_line_tells_of_all_damaged_rows_of_a_page_of_a_listing(
    tell: Callable[[Story], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(opened: Opened) -> None:
        damage(opened, [10, 11, 12])
        caplog.clear()
        page, _ = await opened.collections.list_images("default", None, 50)
        assert [image.id for image in page][:4] == ["0", "1", "100", "101"]
        told = [record.getMessage() for record in caplog.records]
        assert told == ["3 more rows of the database are damaged, the first of them is row 11"]

    tell(story)

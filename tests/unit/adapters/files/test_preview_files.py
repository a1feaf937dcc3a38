"""Thumbnails of pictures in libraries, up to a number of bytes."""

import asyncio
import os
from pathlib import Path

import pytest

from diptych.adapters.files.preview_files import PreviewFiles
from diptych.adapters.files.quota import Quota
from diptych.errors import StoreFull

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def kept(data_dir: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (data_dir / "previews").glob("*/*")}


def test_preview_is_kept_for_each_size_until_it_is_removed(tmp_path: Path) -> None:
    async def story() -> None:
        previews = PreviewFiles(tmp_path)
        await previews.put(A, 64, b"small")
        await previews.put(A, 128, b"large")
        await previews.put(B, 64, b"other")
        assert [await previews.get(A, size) for size in (64, 128, 256)] == [b"small", b"large", None]
        await previews.remove([A, C])
        assert await previews.get(A, 64) is None
        assert await PreviewFiles(tmp_path).get(B, 64) == b"other"

    asyncio.run(story())


def test_those_that_were_not_used_for_the_longest_time_make_room(tmp_path: Path) -> None:
    async def story() -> None:
        before = PreviewFiles(tmp_path, max_bytes=1_000)
        for n, sha256 in enumerate((A, B)):
            await before.put(sha256, 64, bytes(400))
            path = tmp_path / "previews" / sha256[:2] / f"{sha256}-64"
            os.utime(path, (n, n))
        previews = PreviewFiles(tmp_path, max_bytes=1_000)  # counts what is there
        await previews.get(A, 64)
        await previews.put(C, 64, bytes(400))
        assert kept(tmp_path) == {f"{A}-64": 400, f"{C}-64": 400}

    asyncio.run(story())


def test_previews_count_against_the_quota(tmp_path: Path) -> None:
    async def story() -> None:
        quota = Quota(1_000)
        previews = PreviewFiles(tmp_path, quota)
        await previews.put(A, 64, bytes(900))
        with pytest.raises(StoreFull):
            await previews.put(B, 64, bytes(200))
        await previews.remove([A])
        await previews.put(B, 64, bytes(200))
        assert quota.free_bytes == 800

    asyncio.run(story())


def test_read_only_previews_change_nothing(tmp_path: Path) -> None:
    assert asyncio.run(PreviewFiles(tmp_path, read_only=True).get(A, 64)) is None
    assert list(tmp_path.iterdir()) == []

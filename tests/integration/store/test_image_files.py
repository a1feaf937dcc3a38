import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from diptych.adapters.files.image_files import ImageFiles
from diptych.errors import CorruptStore, StoreError


def sha(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def only_file(data_dir: Path) -> Path:
    (file,) = data_dir.glob("images/*/*")
    return file


def names(data_dir: Path) -> list[str]:
    return sorted(path.name for path in data_dir.glob("*/*/*"))


def test_files_are_read_back_and_removed_with_their_thumbnails(tmp_path: Path) -> None:
    async def run() -> None:
        files = ImageFiles(tmp_path)
        payloads = {sha(payload): payload for payload in (b"one", b"two")}
        await files.put(payloads)
        await files.put(payloads)
        one, two = payloads
        await files.put_thumbnail(one, 64, b"small")
        assert await files.get(one) == b"one"
        assert await files.get_thumbnail(one, 64) == b"small"
        assert await files.get_thumbnail(one, 128) is None
        assert set(await files.stored()) == {one, two}
        await files.remove([one, "f" * 64])
        assert names(tmp_path) == [two]

    asyncio.run(run())


def test_missing_file_is_corrupt(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(CorruptStore, match="is missing"):
            await ImageFiles(tmp_path).get(sha(b"one"))

    asyncio.run(run())


def test_refusing_disk_is_a_store_error_and_leaves_no_half_file(tmp_path: Path) -> None:
    files, one = ImageFiles(tmp_path), sha(b"one")
    (tmp_path / "images" / one[:2]).write_bytes(b"a file where the folder should be")

    async def run() -> None:
        with pytest.raises(StoreError, match="image files failed"):
            await files.put({one: b"one"})
        assert names(tmp_path) == []

    asyncio.run(run())


def test_damaged_file_is_written_anew_by_the_next_put(tmp_path: Path) -> None:
    async def run() -> None:
        files, one = ImageFiles(tmp_path), {sha(b"one"): b"one"}
        for damage in (b"0ne", b"", b"one more"):
            await files.put(one)
            only_file(tmp_path).write_bytes(damage)
            await files.put(one)
            assert await files.get(sha(b"one")) == b"one"

    asyncio.run(run())


def test_thumbnails_do_not_wait_for_the_disk_and_an_empty_one_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        files, one = ImageFiles(tmp_path), sha(b"one")
        monkeypatch.setattr(os, "fsync", None)
        await files.put_thumbnail(one, 64, b"small")
        assert await files.get_thumbnail(one, 64) == b"small"
        await files.put_thumbnail(one, 64, b"")
        assert await files.get_thumbnail(one, 64) is None

    asyncio.run(run())

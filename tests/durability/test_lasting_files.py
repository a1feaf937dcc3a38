"""A stored image file survives a loss of power, whatever happened before it was stored."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from diptych.adapters.files import atomic_files, image_files
from diptych.adapters.files.atomic_files import N_STAGED, QuotedFiles
from diptych.adapters.files.image_files import N_WRITERS, ImageFiles
from diptych.adapters.files.quota import Quota
from diptych.core.collections.stored.ids import sha256_of
from diptych.errors import StoreError, StoreFull
from durability.lasting import LastingNames

ONE, LARGE = b"one", b"x" * 5_000
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> LastingNames:
    return LastingNames(monkeypatch)


def file_of(data_dir: Path, payload: bytes) -> Path:
    sha256 = sha256_of(payload)
    return data_dir / "images" / sha256[:2] / sha256


def put(files: ImageFiles, *payloads: bytes) -> None:
    asyncio.run(files.put({sha256_of(payload): payload for payload in payloads}))


def test_file_in_a_new_folder_lasts_with_all_names_above_it(tmp_path: Path, lasting: LastingNames) -> None:
    put(ImageFiles(tmp_path), ONE, LARGE)
    assert lasting.lasts(file_of(tmp_path, ONE), tmp_path)
    assert lasting.lasts(file_of(tmp_path, LARGE), tmp_path)


def test_file_that_a_killed_process_had_renamed_and_not_more_lasts_once_it_is_put(
    tmp_path: Path, lasting: LastingNames
) -> None:
    (tmp_path / "images").mkdir()
    QuotedFiles(Quota()).write_durably(
        {file_of(tmp_path, ONE): ONE}, lambda work, files: list(map(work, files))
    )
    assert not lasting.lasts(file_of(tmp_path, ONE), tmp_path)
    put(ImageFiles(tmp_path), ONE)
    assert lasting.lasts(file_of(tmp_path, ONE), tmp_path)


def test_file_of_a_batch_that_failed_later_lasts_once_it_is_put(
    tmp_path: Path, lasting: LastingNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_files, "N_STAGED", 1)
    files = ImageFiles(tmp_path, Quota(1_000))
    with pytest.raises(StoreFull):
        put(files, ONE, LARGE)
    assert not lasting.lasts(file_of(tmp_path, ONE), tmp_path)
    put(files, ONE)
    assert lasting.lasts(file_of(tmp_path, ONE), tmp_path)


def test_file_whose_folder_could_not_be_fsynced_lasts_once_it_is_put(
    tmp_path: Path, lasting: LastingNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ImageFiles(tmp_path)
    with monkeypatch.context() as broken, pytest.raises(StoreError):
        broken.setattr(image_files, "fsync_names", _refuse)
        put(files, ONE)
    put(files, ONE)
    assert lasting.lasts(file_of(tmp_path, ONE), tmp_path)


def test_however_many_put_large_batches_few_files_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    close = os.close

    def counted(descriptor: int) -> None:
        nonlocal most
        most = max(most, len(list(OPEN_FILES.iterdir())))
        close(descriptor)

    async def put_side_by_side() -> None:
        batches = [{sha256_of(one): one for one in (b"%d %d" % (n, m) for m in range(64))} for n in range(8)]
        await asyncio.gather(*map(files.put, batches))

    files = ImageFiles(tmp_path)
    there = len(list(OPEN_FILES.iterdir()))
    monkeypatch.setattr(os, "close", counted)
    asyncio.run(put_side_by_side())
    assert N_STAGED < most < there + N_WRITERS * N_STAGED + 24  # the loop, and folders being fsynced


def test_after_a_failed_fsync_nothing_is_left_of_the_files_and_nothing_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = Quota(20_000)
    files = ImageFiles(tmp_path, quota)
    with monkeypatch.context() as broken, pytest.raises(StoreError, match="Input/output error"):
        broken.setattr(os, "fsync", _fail)
        put(files, ONE, LARGE)
    assert not [path for path in (tmp_path / "images").rglob("*") if path.is_file()]
    for n in range(3):  # would be too much, had the first try left a count
        put(files, LARGE + str(n).encode())
    with pytest.raises(StoreFull):
        put(files, LARGE + b"3")


def test_folders_of_a_batch_are_fsynced_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsynced: list[Path] = []
    files = ImageFiles(tmp_path)
    monkeypatch.setattr(image_files, "fsync_names", fsynced.append)
    payloads = [str(n).encode() for n in range(600)]
    folders = {file_of(tmp_path, payload).parent for payload in payloads}
    put(files, *payloads)
    assert sorted(fsynced) == sorted(folders | {tmp_path / "images"})
    fsynced.clear()
    put(files, *payloads)
    assert sorted(fsynced) == sorted(folders)


def _fail(descriptor: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def _refuse(folder: Path) -> None:
    raise StoreError("the image files failed")

"""Whatever came before it, an image file that was put would outlast the loss of power."""

import asyncio
from pathlib import Path

import pytest

from diptych.adapters import image_files
from diptych.adapters.image_files import ImageFiles
from diptych.adapters.quota import Quota
from diptych.adapters.whole_files import write_whole
from diptych.core.names import sha256_of
from diptych.errors import StoreError, StoreFull
from durability.lasting import LastingNames

ONE, LARGE = b"one", b"x" * 5_000


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


def test_folder_that_a_killed_process_made_and_did_not_wait_for_lasts(
    tmp_path: Path, lasting: LastingNames
) -> None:
    file_of(tmp_path, ONE).parent.mkdir(parents=True)
    put(ImageFiles(tmp_path), ONE)
    assert lasting.lasts(file_of(tmp_path, ONE), tmp_path)


def test_file_that_a_killed_process_had_renamed_and_not_more_lasts_once_it_is_put(
    tmp_path: Path, lasting: LastingNames
) -> None:
    (tmp_path / "images").mkdir()
    write_whole(file_of(tmp_path, ONE), ONE)
    assert not lasting.lasts(file_of(tmp_path, ONE), tmp_path)
    put(ImageFiles(tmp_path), ONE)
    assert lasting.lasts(file_of(tmp_path, ONE), tmp_path)


def test_file_of_a_batch_that_failed_lasts_once_it_is_put(tmp_path: Path, lasting: LastingNames) -> None:
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


def _refuse(folder: Path) -> None:
    raise StoreError("the image files failed")

"""An unwritable data folder is reported with both users and a fix."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych.adapters.files.data_lock import DataLock
from diptych.errors import ConfigError, DataDirLocked
from support.other_user import as_nobody_in_particular


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where everybody may look: a folder that pytest makes is for its own user alone."""
    made = Path(tempfile.mkdtemp(prefix="diptych-test-"))
    made.chmod(0o555)
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


def test_unwritable_folder_is_reported_with_both_users_and_a_fix(folder: Path) -> None:
    owner = folder.stat()
    with as_nobody_in_particular():
        user = f"{os.geteuid()}:{os.getegid()}"
        with pytest.raises(ConfigError) as refused:
            DataLock(folder)
    said = str(refused.value)
    assert f"data folder {folder} cannot be written by user {user}" in said
    assert f"belongs to {owner.st_uid}:{owner.st_gid} with mode 555" in said
    assert f"chown -R {user}" in said
    assert "\n" not in said


def test_readers_share_the_lock_and_keep_writers_out(tmp_path: Path) -> None:
    DataLock(tmp_path).close()
    readers = [DataLock.shared(tmp_path), DataLock.shared(tmp_path)]
    with pytest.raises(DataDirLocked, match="in use by a read-only server"):
        DataLock(tmp_path)
    for reader in readers:
        reader.close()
    DataLock(tmp_path).close()


def test_reader_is_kept_out_by_a_writer_whom_the_error_names(tmp_path: Path) -> None:
    writer = DataLock(tmp_path)
    with pytest.raises(DataDirLocked, match=f"in use by process {os.getpid()} on .*, which may write to it"):
        DataLock.shared(tmp_path)
    writer.close()


def test_reader_makes_neither_folder_nor_lock(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no data folder"):
        DataLock.shared(tmp_path / "none")
    DataLock.shared(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_reader_without_rights_is_told_who_has_them(folder: Path) -> None:
    folder.chmod(0o755)
    DataLock(folder).close()
    (folder / "lock").chmod(0)
    with (
        as_nobody_in_particular(),
        pytest.raises(ConfigError, match=r"cannot be read by user .* let them read"),
    ):
        DataLock.shared(folder)

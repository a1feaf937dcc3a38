"""An unwritable data folder is reported with both users and a fix."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych.adapters.files.data_lock import DataLock
from diptych.errors import ConfigError
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


def test_folder_inside_an_inaccessible_one_is_refused_too(folder: Path) -> None:
    (folder / "inner").mkdir() if os.geteuid() == 0 else None
    folder.chmod(0o000)
    with as_nobody_in_particular(), pytest.raises(ConfigError, match="inner cannot be written by user"):
        DataLock(folder / "inner")


def test_folder_of_this_user_is_locked_and_unlocked(tmp_path: Path) -> None:
    DataLock(tmp_path).close()
    DataLock(tmp_path).close()

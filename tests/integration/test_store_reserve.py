"""What is held back for deletions: part of the quota, nobody's while it is lent, taken again with room."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from diptych.adapters.quota import Quota
from diptych.adapters.reserve import BLOCK, MOST_BYTES, RESERVE_FILE, SHARE, Reserve
from diptych.errors import StoreFull

LIMIT = 1_600_000
HELD = LIMIT // SHARE // BLOCK * BLOCK


def on_disk(folder: Path) -> int:
    return (folder / RESERVE_FILE).stat().st_blocks * 512


def no_room(*_: int) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_reserve_is_allocated_and_counts_in_the_quota(tmp_path: Path) -> None:
    quota = Quota(LIMIT, Reserve(tmp_path, LIMIT))
    quota.take_file(LIMIT - HELD)
    assert on_disk(tmp_path) == HELD > 90_000
    with pytest.raises(StoreFull, match=f"would have {LIMIT + 1} bytes"):
        quota.take_file(1)
    with quota.reserve_lent():
        assert on_disk(tmp_path) == 0
    assert on_disk(tmp_path) == HELD


def test_without_a_quota_it_is_a_few_megabytes_and_never_much_of_the_disk(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    assert (
        MOST_BYTES - BLOCK < Reserve(tmp_path).n_bytes <= min(MOST_BYTES, disk.f_blocks * disk.f_frsize // 16)
    )


def test_nothing_else_is_let_in_to_what_is_lent(tmp_path: Path) -> None:
    quota = Quota(None, Reserve(tmp_path))
    assert quota.take_reserve()
    with quota.reserve_lent():
        for take in (lambda: quota.take_file(1), lambda: quota.require_database(1, 2)):
            with pytest.raises(
                StoreFull, match="no space is left on the disk of the data folder but what is kept"
            ):
                take()
        quota.require_database(2, 1)
    quota.take_file(1)
    quota.require_database(1, 2)


def test_disk_without_room_for_it_takes_nothing_until_the_log_is_cut_or_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = Quota(None, Reserve(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", no_room)
        assert not quota.take_reserve()
        assert on_disk(tmp_path) == 0
        with pytest.raises(StoreFull):
            quota.take_file(1)
        assert quota.is_tight
        quota.cut_log_with(patched.undo)
        quota.take_file(1)
    assert on_disk(tmp_path) > 0


def test_what_an_earlier_process_held_is_held_but_a_copy_with_holes_is_allocated_anew(tmp_path: Path) -> None:
    held = Reserve(tmp_path)
    assert held.take()
    assert Reserve(tmp_path).held_bytes == held.n_bytes
    with (tmp_path / RESERVE_FILE).open("wb") as file:
        file.truncate(held.n_bytes)
    copied = Reserve(tmp_path)
    assert copied.held_bytes == 0
    assert copied.take()
    assert on_disk(tmp_path) == held.n_bytes


def test_file_system_that_allocates_nothing_ahead_is_used_without_it_and_that_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(*_: int) -> NoReturn:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    quota = Quota(LIMIT, Reserve(tmp_path, LIMIT))
    quota.take_file(LIMIT)
    assert "no room is held back for deletions on a full disk: Operation not supported" in caplog.text

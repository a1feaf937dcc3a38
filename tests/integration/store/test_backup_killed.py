"""Backups and restores that are killed before each of their durable steps, one after the other."""

import itertools
import os
import shutil
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.backup.restore import UNFINISHED, refuse_unfinished
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.errors import StoreError
from integration.backup_parts import PETS, back_up, restored, verify
from integration.data_folders import add, change, contents, delete, put

OTHERS = {"cow": b"a cow", "cat": b"another cat"}
STEPS = ("fsync", "replace", "unlink")
KILLED = 9


def is_done_before(step: int, work: Callable[[], Any]) -> bool:
    """Run `work` in a child that ends before its step of this number; whether it was done before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which the child does not need
        child = os.fork()
    if child == 0:
        _die_before(step)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, KILLED}
    return code == 0


def _die_before(step: int) -> None:
    counter = itertools.count(1)

    def mortal(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if next(counter) == step:
                os._exit(KILLED)
            return real(*given, **named)

        return call

    for name in STEPS:
        setattr(os, name, mortal(getattr(os, name)))


def kills(
    every: int, work: Callable[[Path], Any], folder: Path, before: Path | None = None
) -> Iterator[Path]:
    """Folders, each like `before`, in which `work` was killed `every` steps later than in the last."""
    for step in itertools.count(1, every):
        killed = folder / f"killed-{step}"
        if before is not None:
            shutil.copytree(before, killed)
        if is_done_before(step, lambda killed=killed: work(killed)):
            assert step > 15, "there are more steps than that"
            return
        yield killed
        shutil.rmtree(killed)


@pytest.fixture(params=[10, pytest.param(1, marks=pytest.mark.long)])
def every(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def test_backup_killed_before_any_step_is_the_old_one_or_the_new_one(
    data_dir: Path, tmp_path: Path, every: int
) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await put(store, files, OTHERS)
        await delete(store, files, "dog")

    old = back_up(data_dir, tmp_path / "old").counts
    change(data_dir, work)
    new = back_up(data_dir, tmp_path / "new").counts
    seen = set()
    for killed in kills(every, partial(back_up, data_dir), tmp_path, before=tmp_path / "old"):
        found = verify(killed).counts
        assert found in (old, new)
        seen.add(found)
        assert back_up(data_dir, killed).counts == verify(killed).counts == new
        assert len(list(killed.glob("images/*/*"))) == new.n_files
        assert len(list(killed.iterdir())) == len(list((tmp_path / "new").iterdir()))
    assert old in seen
    assert every > 1 or new in seen


def test_first_backup_killed_before_any_step_is_none_or_complete(
    data_dir: Path, tmp_path: Path, every: int
) -> None:
    for killed in kills(every, partial(back_up, data_dir), tmp_path):
        if (killed / "backup.json").exists():
            verify(killed)
        assert back_up(data_dir, killed).counts == verify(killed).counts


def test_restore_killed_before_any_step_is_finished_by_repeating_it(
    data_dir: Path, tmp_path: Path, every: int
) -> None:
    back_up(data_dir, tmp_path / "backup")

    def restore(folder: Path) -> Any:
        return restored(tmp_path / "backup", folder)

    n_refused = 0
    for killed in kills(every, restore, tmp_path):
        if (killed / UNFINISHED).exists():
            with pytest.raises(StoreError, match="unfinished restore"):
                refuse_unfinished(killed)
            n_refused += 1
        else:
            is_whole = (killed / DATABASE).exists()
            assert contents(killed) == PETS if is_whole else not (killed / "images").exists()
            if is_whole:
                continue
        restore(killed)
        assert contents(killed) == PETS
    assert n_refused > 10 / every


def test_replacement_killed_before_any_step_is_what_was_there_or_the_backup(
    data_dir: Path, tmp_path: Path, every: int
) -> None:
    back_up(data_dir, tmp_path / "backup")
    add(tmp_path / "others", OTHERS)

    def restore(folder: Path) -> Any:
        return restored(tmp_path / "backup", folder, replace=True)

    n_replaced = 0
    for killed in kills(every, restore, tmp_path, before=tmp_path / "others"):
        refuse_unfinished(killed)
        found = contents(killed)
        assert found in (PETS, OTHERS)
        n_replaced += found == PETS
        restore(killed)
        assert contents(killed) == PETS
    assert every > 1 or n_replaced > 0

"""A kill at any step of writing an index loses no image: the next start finds each one."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diptych.failpoints import INDEX_POINTS, VARIABLE
from integration.large_indexes import index_files, opened, require_found, stored, until_saved
from support.documents import ROOT
from support.fixtures import model_repo_fixture

model_repo = model_repo_fixture({})


@pytest.mark.parametrize("nth", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("point", INDEX_POINTS)
def test_every_image_is_found_after_a_kill_while_an_index_is_written(
    model_repo: Path, tmp_path: Path, point: str, nth: int
) -> None:
    data_dir, journal = tmp_path / "data", tmp_path / "journal"
    environment = {**os.environ, VARIABLE: f"{point}:{nth}", "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-m", "durability.index_writer", model_repo, data_dir, journal]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if point.startswith("index_remove") and nth == 2:
        assert ended.returncode == 0, "one file of rows is removed"
    else:
        assert ended.returncode == -signal.SIGKILL, ended.stderr

    async def again() -> None:
        async with opened(model_repo, data_dir) as store:
            numbers = await stored(store)
            assert {*acknowledged(journal)} <= {*numbers}
            await require_found(store, numbers)
            await until_saved(store)
            await require_found(store, numbers)

    asyncio.run(again())
    assert index_files(data_dir) == [".ivf", ".rows"]


def acknowledged(journal: Path) -> list[int]:
    """The numbers of the images that were acknowledged."""
    found = set[int]()
    for line in journal.read_text(encoding="utf-8").splitlines():
        (found.add if line[0] == "+" else found.discard)(int(line[1:]))
    return sorted(found)

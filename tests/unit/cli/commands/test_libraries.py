"""`diptych libraries`: what it says of scans and of files that are left alone."""

from typing import Any

import pytest

from diptych.cli.commands import libraries
from diptych.cli.output.console import MAX_CELL_CHARS
from support.command_line import Capture, RunCommand, command_runner
from support.fake_api import FakeApi, ok

LIBRARY: dict[str, Any] = {
    "name": "photos",
    "state": "idle",
    "reason": "",
    "n_files": 412,
    "n_missing": 2,
    "n_failed": 1,
    "n_to_read": 0,
    "n_read": 0,
    "files_per_s": None,
    "eta_s": None,
    "scanned_at": None,
    "problems": [],
    "n_problems": 0,
}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    return command_runner(libraries, api, monkeypatch)


def test_list_says_how_far_a_scan_is_and_how_many_problems_there_are(
    api: FakeApi, run: RunCommand, capsys: Capture
) -> None:
    scanning = {"state": "scanning", "n_to_read": 900, "n_read": 17, "n_problems": 3}
    away = {"name": "scans", "state": "waiting", "reason": "the disk is away"}
    api.on("GET /libraries", ok({"libraries": [LIBRARY | scanning, LIBRARY | away]}))
    assert run("list") == 0
    _, photos, scans, reason = capsys.readouterr().out.splitlines()
    assert photos.split() == ["photos", "scanning", "17/900", "412", "2", "3", "never"]
    assert scans.split() == ["scans", "waiting", "412", "2", "0", "never"]
    assert reason == "scans waits: the disk is away"


def test_long_paths_of_problems_are_cut(api: FakeApi, run: RunCommand, capsys: Capture) -> None:
    problems = [{"path": "a" * 500, "reason": "no picture"}]
    api.on("POST /libraries/photos/scan", ok(LIBRARY | {"problems": problems, "n_problems": 1}))
    assert run("scan", "photos") == 0
    assert f"{'a' * (MAX_CELL_CHARS - 1)}…: no picture" in capsys.readouterr().err.splitlines()

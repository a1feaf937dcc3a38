"""Where runs are found."""

from pathlib import Path

import pytest

from diptych_training.paths import run_dir


def test_a_run_is_named_by_folder_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    named, elsewhere = tmp_path / "runs" / "mine", tmp_path / "elsewhere"
    named.mkdir(parents=True)
    elsewhere.mkdir()
    assert run_dir("mine") == named
    assert run_dir(str(elsewhere)) == elsewhere
    assert run_dir("nowhere") == Path("nowhere")

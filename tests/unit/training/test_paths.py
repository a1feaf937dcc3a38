"""Where runs are found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from diptych_training.paths import data_dir, model_repo, run_dir, runs_dir


@pytest.mark.parametrize(
    ("variable", "place"),
    [("DIPTYCH_RUNS_DIR", runs_dir), ("DIPTYCH_DATA", data_dir), ("DIPTYCH_MODEL_REPO", model_repo)],
)
def test_a_place_is_what_its_variable_says(
    variable: str, place: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setenv(variable, "~/mine")
    assert place() == Path.home() / "mine"
    monkeypatch.setenv(variable, "")
    assert place() in {tmp_path / "runs", tmp_path / "pictograms", Path("model_repo")}


def test_a_run_is_named_by_folder_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    named, elsewhere = tmp_path / "runs" / "mine", tmp_path / "elsewhere"
    named.mkdir(parents=True)
    elsewhere.mkdir()
    assert run_dir("mine") == named
    assert run_dir(str(elsewhere)) == elsewhere
    assert run_dir("nowhere") == Path("nowhere")

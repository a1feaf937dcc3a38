"""A refreshed model keeps the precisions of the version before it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from diptych_training.cli import main
from diptych_training.export import run_export
from diptych_training.provenance import Provenance
from diptych_training.run_folder import RunFolder
from support.documents import ROOT
from support.tiny_run import write_tiny_dataset, write_tiny_run

DEFAULT_MODEL = ROOT / "model_repo" / "pictograms"  # version 5, of fp32 and int8


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The precisions that each export is asked for; nothing is exported."""
    found: list[tuple[str, ...]] = []

    def export_run(run: Any, dataset: Any, repository: Any, statement: Any, reporter: Any, **_: Any) -> int:
        found.append(statement.precisions)
        return 5

    monkeypatch.setattr(run_export, "export_run", export_run)
    return found


def export(tmp_path: Path, name: str, *flags: str, started_from: str | None = None) -> int:
    dataset = write_tiny_dataset(tmp_path / "data", n_icons=3)
    run_dir = write_tiny_run(tmp_path / "run")
    if started_from is not None:
        learned = Provenance(own=dataset, pairs={}, rehearsed={}, started_from={started_from: "MIT"})
        RunFolder(run_dir).provenance_file.write_text(learned.model_dump_json())
    places = [
        "--run",
        str(run_dir),
        "--data",
        str(tmp_path / "data"),
        "--model-repo",
        str(tmp_path / "models"),
    ]
    return main(["export", "--name", name, "--licence", "MIT", *places, *flags])


def keep(tmp_path: Path, name: str) -> None:
    """A copy of the default model under a name, as version 5."""
    manifest = shutil.copytree(DEFAULT_MODEL, tmp_path / "models" / name) / "5" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"name": "pictograms"', f'"name": "{name}"'))


def test_a_run_that_started_from_a_version_is_exported_in_its_precisions(tmp_path, asked, capsys):
    keep(tmp_path, "pictograms")
    export(tmp_path, "mine", started_from="pictograms/5")
    assert asked == [("fp32", "int8")]
    told = capsys.readouterr().out
    assert "pictograms/5: fp32, int8" in told
    assert "this export makes fp32, int8; choose others with --precisions" in told


def test_a_run_that_started_from_nothing_keeps_those_of_the_version_that_it_follows(tmp_path, asked):
    keep(tmp_path, "mine")
    assert export(tmp_path, "mine") == 0
    assert asked == [("fp32", "int8")]


def test_precisions_that_are_named_are_made(tmp_path, asked, capsys):
    keep(tmp_path, "pictograms")
    assert export(tmp_path, "pictograms", "--precisions", "fp32", started_from="pictograms/5") == 0
    assert asked == [("fp32",)]
    assert "names others" not in capsys.readouterr().out


def test_a_start_that_is_gone_is_said(tmp_path, asked, capsys):
    keep(tmp_path, "mine")
    assert export(tmp_path, "mine", started_from="pictograms/3") == 0
    assert (
        f"pictograms/3: not in {tmp_path / 'models'}, its precisions are unknown" in capsys.readouterr().out
    )


@pytest.mark.parametrize("started_from", [None, "openai/clip-vit-base-patch32", "origin (best, step 7)"])
def test_the_first_version_of_a_name_is_float32(tmp_path, asked, capsys, started_from):
    export(tmp_path, "mine", started_from=started_from)
    assert asked == [("fp32",)]
    assert "names others" not in capsys.readouterr().out

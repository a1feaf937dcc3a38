"""A version keeps the precisions and the storage of weights of the version before it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from diptych_training.cli import main
from diptych_training.export import run_export
from diptych_training.export.manifest import ExportOptions
from diptych_training.export.onnx.bundle_files import WEIGHTS_FILE
from diptych_training.provenance import Provenance
from diptych_training.run_folder import RunFolder
from support.default_model import DEFAULT_MODEL, default_bundle
from support.tiny_run import write_tiny_dataset, write_tiny_run

KEPT = f"{DEFAULT_MODEL}/{default_bundle().name}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ExportOptions]:
    """What each export is asked for; nothing is exported."""
    found: list[ExportOptions] = []

    def export_run(run: Any, dataset: Any, repository: Any, statement: Any, reporter: Any, **_: Any) -> int:
        found.append(statement)
        return int(default_bundle().name)

    monkeypatch.setattr(run_export, "export_run", export_run)
    monkeypatch.setattr(run_export, "calibrate_published", lambda *_, **__: None)
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
    """A copy of the default model, of fp32 and int8, under a name."""
    bundle = default_bundle()
    manifest = shutil.copytree(bundle, tmp_path / "models" / name / bundle.name) / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"name": "{DEFAULT_MODEL}"', f'"name": "{name}"'))


def test_a_run_that_started_from_a_version_is_exported_in_its_precisions(tmp_path, asked, capsys):
    keep(tmp_path, DEFAULT_MODEL)
    export(tmp_path, "mine", started_from=KEPT)
    assert [one.precisions for one in asked] == [("fp32", "int8")]
    told = capsys.readouterr().out
    assert f"{KEPT}: fp32, int8" in told
    assert "this export makes fp32, int8; choose others with --precisions" in told


def test_a_run_that_started_from_nothing_keeps_those_of_the_version_that_it_follows(tmp_path, asked):
    keep(tmp_path, "mine")
    assert export(tmp_path, "mine") == 0
    assert [one.precisions for one in asked] == [("fp32", "int8")]


@pytest.mark.parametrize("started_from", [None, "openai/clip-vit-base-patch32", "origin (best, step 7)"])
def test_the_first_version_of_a_name_is_float32(tmp_path, asked, capsys, started_from):
    export(tmp_path, "mine", started_from=started_from)
    assert [one.precisions for one in asked] == [("fp32",)]
    assert "names others" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kept", "flags", "expected"),
    [
        (torch.float16, (), True),
        (torch.float32, (), False),
        (torch.float16, ("--no-half-weights",), False),
        (torch.float32, ("--half-weights",), True),
    ],
)
def test_weights_are_stored_as_those_of_the_version_before_unless_a_flag_says_otherwise(
    tmp_path, asked, capsys, kept, flags, expected
):
    keep(tmp_path, "mine")
    weights = tmp_path / "models" / "mine" / default_bundle().name / WEIGHTS_FILE
    save_file({"gain": torch.ones(2), "table": torch.ones(2, 2, dtype=kept)}, weights)
    assert export(tmp_path, "mine", *flags) == 0
    assert [one.half_weights for one in asked] == [expected]
    said = f"weights are stored as float16, as mine/{default_bundle().name} stores its own; --no-half-weights"
    assert (said in capsys.readouterr().out) is (expected and not flags)

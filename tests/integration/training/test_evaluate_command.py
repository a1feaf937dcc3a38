"""Evaluation of a run through torch and of its bundle through onnxruntime: equal numbers and all files."""

import argparse
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.checkpoint import load_run
from diptych_training.data.packed import read_dataset
from diptych_training.evaluate import command
from diptych_training.evaluate.results import Evaluation, read_evaluation
from diptych_training.evaluate.validation import validate
from diptych_training.export.manifest import ExportOptions
from diptych_training.export.publish import export_run
from diptych_training.stages import ProgressReporter
from support.tiny_run import write_tiny_dataset, write_tiny_run

N_ICONS = 30


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data`, `runs/tiny`, and the run's ungated bundle `model_repo/drawings/1`."""
    home = tmp_path_factory.mktemp("home")
    dataset = write_tiny_dataset(home / "data", n_icons=N_ICONS)
    run = load_run(write_tiny_run(home / "runs" / "tiny"))
    reporter = ProgressReporter(report=lambda _: None, advance=lambda _: None)
    statement = ExportOptions("drawings", ungated=True, optimise=False)
    export_run(run, dataset, ModelRepository(home / "model_repo"), statement, reporter)
    return home


def evaluate(home: Path, out: Path, *flags: str) -> Evaluation:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    folders = ["--data", str(home / "data"), "--model-repo", str(home / "model_repo"), "--out", str(out)]
    assert command.run(parser.parse_args(["evaluate", *folders, *flags])) == 0
    return read_evaluation(out / "evaluation.json")


def test_a_run_is_evaluated_into_tables_data_and_picture(home: Path, tmp_path: Path) -> None:
    evaluation = evaluate(home, tmp_path, "--run", str(home / "runs" / "tiny"))

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusions.png",
        *(f"evaluation.{end}" for end in ("json", "md", "png")),
    ]
    assert [result.source for result in evaluation.sources] == ["new-set", "new-style"]
    emoji, icons = evaluation.of_kind("emoji")[0], evaluation.of_kind("icons")[0]
    assert (emoji.n_classes, icons.n_classes) == (1914, N_ICONS)
    assert icons.far is not None
    assert icons.far.n_images == N_ICONS * 4 // 5
    assert icons.pixel_floor == 0.1


def test_a_bundle_scores_what_its_run_scores(home: Path, tmp_path: Path) -> None:
    by_torch = evaluate(home, tmp_path / "a", "--run", str(home / "runs" / "tiny"))
    by_onnx = evaluate(home, tmp_path / "b", "--bundle", "drawings/1")

    assert by_onnx.sources == by_torch.sources
    assert by_onnx.model == "drawings/1 (fp32)"


def test_validation_during_a_run_agrees_with_the_evaluation(home: Path, tmp_path: Path) -> None:
    run = load_run(home / "runs" / "tiny")
    run.model.train()
    tokenizer = TextTokenizer(run.tokenizer_file, run.text_spec)

    metrics = validate(run.model, tokenizer, read_dataset(home / "data"), run.image_spec)

    means = evaluate(home, tmp_path, "--run", str(home / "runs" / "tiny"), "--split", "validation").means()
    expected = {f"{kind}_top{k}": mean.all.zero_shot[k] for kind, mean in means.items() for k in (1, 5)}
    assert metrics == pytest.approx(expected)
    assert run.model.training

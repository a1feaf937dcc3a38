"""Evaluation of a run through torch and of its bundle through onnxruntime: equal numbers and all files."""

import argparse
import shutil
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.checkpoint import load_run
from diptych_training.cli import main
from diptych_training.data.packed import read_dataset
from diptych_training.errors import EvaluationError
from diptych_training.evaluate import command
from diptych_training.evaluate.confusion_report import ConfusionCollector
from diptych_training.evaluate.evaluated_model import (
    EvaluatedModel,
    load_evaluated_bundle,
    load_evaluated_run,
)
from diptych_training.evaluate.measure import evaluate as measure
from diptych_training.evaluate.results import Evaluation, read_evaluation
from diptych_training.evaluate.validation import validate
from diptych_training.export.manifest import ExportOptions
from diptych_training.export.publish import export_run
from diptych_training.stages import ProgressReporter
from support.exported_once import exported_once
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
    with exported_once():
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


def test_the_template_set_changes_the_scores(home: Path, tmp_path: Path) -> None:
    evaluation = evaluate(
        home, tmp_path, "--bundle", "drawings", "--prompts", "drawing", "--split", "validation"
    )

    assert evaluation.templates == ("a drawing of {}", "{} icon")
    assert evaluation.split == "validation"


def test_worst_confusions_are_the_same_picture_each_time_and_for_a_run_as_for_its_bundle(
    home: Path, tmp_path: Path
) -> None:
    run = ["--run", str(home / "runs" / "tiny")]
    evaluate(home, tmp_path / "a", *run)
    evaluate(home, tmp_path / "b", *run)

    picture = (tmp_path / "a" / "confusions.png").read_bytes()
    assert picture == (tmp_path / "b" / "confusions.png").read_bytes()
    assert len(picture) <= 200_000
    by_torch, by_onnx = (
        ConfusionCollector(load_evaluated_run(Path(run[1]), "best")),
        ConfusionCollector(bundle_of(home)),
    )
    dataset = read_dataset(home / "data")
    assert by_torch.picture(dataset) is None  # nothing was looked at
    for worst in (by_torch, by_onnx):
        measure(worst.model, dataset, "eval", lambda _: None, observe=worst.collect)
    assert labels(by_torch) == labels(by_onnx)
    assert {source for source, *_ in labels(by_torch)} == {"new-style", "new-set"}


def bundle_of(home: Path) -> EvaluatedModel:
    return load_evaluated_bundle(ModelRepository(home / "model_repo"), "drawings", 1)


def labels(worst: ConfusionCollector) -> list[tuple[str, str, str, str]]:
    return [(one.source.name, one.right, one.given, f"{one.probability:.3f}") for one in worst.found]


def test_an_evaluation_without_wrong_answers_leaves_no_picture_of_earlier_ones(
    home: Path, tmp_path: Path
) -> None:
    result = evaluate(home, tmp_path, "--run", str(home / "runs" / "tiny"))
    assert (tmp_path / "confusions.png").is_file()

    assert command.write_evaluation(result, tmp_path, None)[-1] == tmp_path / "evaluation.png"
    assert not (tmp_path / "confusions.png").exists()


def test_a_split_without_flags_has_no_scores_without_near_duplicates(home: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(home / "data", data)
    for file in (data / "validation").glob("*.jsonl"):
        file.write_text(file.read_text().replace('"near_train": true', '"near_train": false'))
    run = ["--run", str(home / "runs" / "tiny"), "--data", str(data), "--split", "validation"]

    evaluation = evaluate(home, tmp_path / "out", *run)

    assert all(result.far is None for result in evaluation.sources)
    assert "near duplicates" not in (tmp_path / "out" / "evaluation.md").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bundle", "drawings/one"], "must be a number"),
        (["--bundle", "drawings", "--precision", "int8"], "no precision 'int8', it has: fp32"),
        (["--bundle", "drawings", "--prompts", "photo"], "no template set 'photo', it has: default, drawing"),
        (["--bundle", "drawings", "--batch-size", "0"], "--batch-size is 0"),
    ],
)
def test_wrong_arguments_are_named(home: Path, tmp_path: Path, flags: list[str], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        evaluate(home, tmp_path, *flags)


def test_a_missing_run_is_named_before_a_missing_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ["--runs-dir", str(tmp_path), "--data", str(tmp_path / "data")]
    assert main(["evaluate", "--run", "nope", *nowhere]) == 1
    assert capsys.readouterr().err.startswith(f"diptych-train: {tmp_path / 'nope'}: no such run")


def test_validation_during_a_run_agrees_with_the_evaluation(home: Path, tmp_path: Path) -> None:
    run = load_run(home / "runs" / "tiny")
    run.model.train()
    tokenizer = TextTokenizer(run.tokenizer_file, run.text_spec)

    metrics = validate(run.model, tokenizer, read_dataset(home / "data"), run.image_spec)

    means = evaluate(home, tmp_path, "--run", str(home / "runs" / "tiny"), "--split", "validation").means()
    expected = {f"{kind}_top{k}": mean.all.zero_shot[k] for kind, mean in means.items() for k in (1, 5)}
    assert metrics == pytest.approx(expected)
    assert run.model.training

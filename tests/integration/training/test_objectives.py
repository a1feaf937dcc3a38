"""Every objective from a recipe to an evaluation, and to a served bundle if it has both towers."""

from pathlib import Path

import numpy as np
import pytest

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.golden import check_golden, read_golden
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.checkpoint import load_run
from diptych_training.cli import main
from diptych_training.config import StartConfig, TrainConfig
from diptych_training.data.packed import read_dataset
from diptych_training.errors import CheckpointError
from diptych_training.evaluate.benchmark.results import Result
from diptych_training.evaluate.results import read_evaluation
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.manifest import ExportOptions
from diptych_training.export.publish import export_run
from diptych_training.importing.source_model import open_source_model
from diptych_training.schema import find_record
from diptych_training.stages import ProgressReporter
from support.small_recipe import small_recipe, write_small_recipe
from support.tiny_run import write_tiny_dataset

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji", "cache")

NONLINEAR = small_recipe().model.model_copy(update={"projection": "nonlinear", "initial_scale": 10.0})
CONVIRT = small_recipe(objective={"kind": "convirt"}, model=NONLINEAR)


PREDICTIVE = ["bag_of_words", "static_softmax", "visual_ngrams", "virtex", "icmlm"]


@pytest.fixture(scope="module")
def home(few_emoji: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_tiny_dataset(home / "data", n_icons=30)
    return home


def train_and_evaluate(home: Path, config: TrainConfig) -> Path:
    recipe = write_small_recipe(home / f"{config.name}.toml", config)
    folders = ["--data", str(home / "data"), "--runs-dir", str(home / "runs")]
    assert main(["train", str(recipe), *folders]) == 0
    assert main(["evaluate", "--run", config.name, *folders, "--no-floors"]) == 0
    return home / "runs" / config.name


def test_convirt_is_trained_evaluated_and_exported(home):
    folder = train_and_evaluate(home, CONVIRT)
    evaluation = read_evaluation(folder / "evaluation-eval" / "evaluation.json")
    assert [source.source for source in evaluation.sources] == ["new-set", "new-style"]

    run, repository = load_run(folder), ModelRepository(home / "model_repo")
    assert run.model.logit_scale.exp().item() == pytest.approx(10.0)
    reporter = ProgressReporter(report=lambda _: None, advance=lambda _: None)
    options = ExportOptions("convirt", ungated=True, optimise=False)
    version = export_run(run, read_dataset(home / "data"), repository, options, reporter)

    manifest, exported = repository.verify("convirt", version), repository.folder("convirt", version)
    assert manifest.logit_scale == pytest.approx(10.0)
    assert "the contrastive method of ConVIRT" in (exported / "MODEL_CARD.md").read_text()
    tokenizer = TextTokenizer(exported / "tokenizer.json", manifest.text)
    encoder = OnnxEncoder(exported / "image_encoder.onnx", exported / "text_encoder.onnx")
    golden = read_golden(exported / "golden.npz")
    report = check_golden(golden, manifest, "fp32", tokenizer, encoder)
    assert min(report.image_cosine_min, report.text_cosine_min) >= 0.99999
    trained = TorchEncoder(run.model, manifest.image).encode_image(golden.pixels)
    np.testing.assert_allclose(encoder.encode_image(golden.pixels), trained, atol=1e-5)


def benchmark(home: Path, run: str, out: Path, *flags: str) -> dict[str, Result]:
    folders = ["--data", str(home / "data"), "--runs-dir", str(home / "runs"), "--out", str(out)]
    assert main(["benchmark", run, *folders, *flags]) == 0
    found = (find_record(file, Result) for file in (out / "results").rglob("*.json"))
    return {one.data_set: one for one in found if one is not None}


@pytest.mark.parametrize("kind", PREDICTIVE)
def test_an_objective_without_a_text_tower_is_trained_and_evaluated(home, kind, tmp_path, capsys):
    folder = train_and_evaluate(home, small_recipe(objective={"kind": kind}, name=kind.replace("_", "-")))
    written = folder / "evaluation-eval"
    assert sorted(file.name for file in written.iterdir()) == [
        f"evaluation.{end}" for end in ("json", "md", "png")
    ]
    evaluation = read_evaluation(written / "evaluation.json")
    assert [source.source for source in evaluation.sources] == ["new-set", "new-style"]
    icons = evaluation.of_kind("icons")[0]
    assert (icons.n_classes, icons.all.n_images, icons.far.n_images) == (30, 30, 24)
    assert set(icons.all.image_to_text) == {1, 5, 10}

    for name, found in benchmark(home, folder.name, tmp_path / "bench", "--on", "pictograms").items():
        (source,) = [one for one in evaluation.sources if one.source == name]
        assert found.zero_shot["ensemble"]["top1"] == pytest.approx(source.all.zero_shot[1], abs=1e-6)
        assert found.retrieval is None

    trained_with = f"was trained with {kind}, which has no text tower"
    with pytest.raises(CheckpointError, match=trained_with):
        load_run(folder)
    with pytest.raises(CheckpointError, match=trained_with):
        open_source_model(StartConfig(source=str(folder)), home / "runs", home / "model_repo")
    capsys.readouterr()
    flags = ["--run", str(folder), "--name", "x", "--model-repo", str(tmp_path), "--data", str(home / "data")]
    assert main(["export", *flags]) != 0
    assert trained_with in capsys.readouterr().err


def test_names_that_a_static_softmax_does_not_know_are_counted_and_wrong(home, tmp_path, capsys):
    train_and_evaluate(home, small_recipe(objective={"kind": "static_softmax"}, name="labels"))

    found = benchmark(home, "labels", tmp_path, "--on", "pictograms")

    assert (found["new-set"].n_unknown, found["new-set"].n_texts) == (10, 30)  # 20 were trained
    emoji = found["new-style"]
    assert emoji.n_unknown == emoji.n_texts
    assert emoji.zero_shot["ensemble"]["top1"] == emoji.zero_shot["ensemble"]["top5"] == 0
    assert emoji.confusions == ()
    assert "30 (10 unknown)" in capsys.readouterr().out


def test_a_run_that_cannot_be_served_is_not_published(home, tmp_path, capsys):
    recipe = write_small_recipe(tmp_path / "small.toml", small_recipe(objective={"kind": "bag_of_words"}))
    folders = ["--data", str(home / "data"), "--runs-dir", str(tmp_path), "--model-repo", str(tmp_path / "m")]
    assert main(["train", str(recipe), *folders, "--publish", "mine"]) != 0
    assert "objective is bag_of_words, which has no text tower" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()

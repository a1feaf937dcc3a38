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
from diptych_training.data.packed import read_dataset
from diptych_training.evaluate.results import read_evaluation
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.manifest import ExportOptions
from diptych_training.export.publish import ProgressReporter, export_run
from support.small_recipe import small_recipe, write_small_recipe
from support.tiny_run import write_tiny_dataset

pytestmark = pytest.mark.usefixtures("curves_undrawn")

NONLINEAR = small_recipe().model.model_copy(update={"projection": "nonlinear", "initial_scale": 10.0})
CONVIRT = small_recipe(objective={"kind": "convirt"}, model=NONLINEAR)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_tiny_dataset(home / "data", n_icons=30)
    return home


def train_and_evaluate(home: Path, config) -> Path:
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
    reporter = ProgressReporter(say=lambda _: None, advance=lambda _: None)
    options = ExportOptions("convirt", ungated=True)
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

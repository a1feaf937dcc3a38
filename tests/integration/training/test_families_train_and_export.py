"""Every family of architectures, from its name in a recipe to a checked bundle, at small size."""

import csv
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
from diptych_training.export.manifest import ExportOptions
from diptych_training.export.publish import export_run
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.own import load_own_bundle
from diptych_training.models import ResNetConfig
from diptych_training.stages import ProgressReporter
from support.tiny_run import (
    CONTEXT_LENGTH,
    IMAGE_SIZE,
    TINY_POOLED_VIT,
    TINY_VIT,
    VOCAB_SIZE,
    write_tiny_dataset,
    write_tiny_run,
)

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji")

BOTTLENECK = ResNetConfig(layers=(1, 1), width=16, heads=2, stem_pool=False)
SMALL = [
    f"model.image_size={IMAGE_SIZE}",
    f"model.text={{vocab_size={VOCAB_SIZE}, context_length={CONTEXT_LENGTH}, width=32, layers=1, heads=2}}",
    "model.embed_dim=32",
]
SMALL_IMAGE = {
    "RN50": "model.image={layers=[1, 1, 1, 1], width=8, heads=4}",
    "ViT-B-32": "model.image={patch_size=16, width=32, layers=1, heads=2}",
    "ViT-B-16-SigLIP": "model.image={width=32, layers=1, heads=2}",
}
RECIPE = """
name = "small"
model = "{name}"

[data.mixture]
icons = 1.0
[augment]
[optim]
warmup_steps = 1
[run]
steps = 3
batch_size = 8
log_every = 1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dataset(tmp_path_factory.mktemp("data")).path


@pytest.mark.parametrize("name", SMALL_IMAGE)
def test_a_recipe_that_names_an_architecture_trains_it(name, data, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE.format(name=name))
    changes = [part for change in (*SMALL, SMALL_IMAGE[name]) for part in ("--set", change)]
    folders = ["--data", str(data), "--runs-dir", str(tmp_path)]
    assert main(["train", str(tmp_path / "recipe.toml"), *folders, *changes]) == 0
    run = load_run(tmp_path / "small")
    with (tmp_path / "small" / "metrics.csv").open() as file:
        metrics = {row["metric"] for row in csv.DictReader(file)}
    is_siglip = name == "ViT-B-16-SigLIP"
    assert run.config.loss == ("sigmoid" if is_siglip else "softmax")
    assert ("logit_bias" in metrics) == is_siglip
    assert (run.model.logit_bias is not None) == is_siglip


@pytest.mark.long
@pytest.mark.parametrize(
    "image",
    [
        pytest.param(TINY_POOLED_VIT, id="pooled_vit"),
        pytest.param(TINY_VIT, id="vit"),
        pytest.param(BOTTLENECK, id="resnet"),
    ],
)
def test_every_family_becomes_a_bundle_that_proves_itself(image, data, tmp_path):
    run = load_run(write_tiny_run(tmp_path / "run", image=image))
    repository = ModelRepository(tmp_path / "model_repo")
    reporter = ProgressReporter(report=lambda _: None, advance=lambda _: None)
    version = export_run(run, read_dataset(data), repository, ExportOptions("drawings"), reporter)

    manifest, folder = repository.verify("drawings", version), repository.folder("drawings", version)
    tokenizer = TextTokenizer(folder / "tokenizer.json", manifest.text)
    encoder = OnnxEncoder(folder / "image_encoder.onnx", folder / "text_encoder.onnx")
    report = check_golden(read_golden(folder / "golden.npz"), manifest, "fp32", tokenizer, encoder)
    assert min(report.image_cosine_min, report.text_cosine_min) >= 0.99999

    is_siglip = image is TINY_POOLED_VIT
    assert manifest.family == ("siglip" if is_siglip else "clip")
    assert manifest.logit_bias == (-10 if is_siglip else 0)
    assert ("SigLIP" in (folder / "MODEL_CARD.md").read_text()) == is_siglip

    again = load_own_bundle(folder, Choices())
    texts = ["a cat", ""]
    np.testing.assert_allclose(
        again.library.encode_texts(texts), encoder.encode_text(tokenizer(texts).input_ids), atol=1e-5
    )
    assert (again.family, again.logit_bias) == (manifest.family, manifest.logit_bias)

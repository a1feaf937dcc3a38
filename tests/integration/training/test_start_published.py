"""Training goes on with checkpoints of other libraries: with their words, preparation, and embeddings."""

import json
from pathlib import Path

import pytest
import tomli_w

from diptych_training.cli import main
from diptych_training.models import ModelConfig
from diptych_training.run_folder import RunFolder
from diptych_training.train.metrics_log import read_metrics
from support.hugging_face_checkpoints import (
    CONTEXT_LENGTH,
    EMBED_DIM,
    HEADS,
    IMAGE_SIZE,
    PATCH_SIZE,
    WIDTH,
    make_clip,
)
from support.tiny_run import write_tiny_dataset

pytestmark = pytest.mark.usefixtures("curves_undrawn")

RUN = """
name = "tuned"
data.mixture.icons = 1.0
optim.warmup_steps = 1
run = { steps = 1, batch_size = 4, precision = "fp32", best_by = ["icons_top1"] }
"""
SPECS = f"""
[preprocess]
size = {IMAGE_SIZE}
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
interpolation = "bicubic"
resize_mode = "shortest"
crop = "round"
alpha = "white"
[text]
context_length = {CONTEXT_LENGTH}
clean = "clip"
pad_to = "longest"
pad_id = 0
prompts.default = ["{{}}"]
"""


def recipe(folder: Path, model: dict[str, object] | None = None, rest: str = "") -> Path:
    """One step on the tiny data set from whatever `--start` names."""
    file = folder / "tuned.toml"
    file.write_text(RUN + ("" if model is None else tomli_w.dumps({"model": model})) + rest)
    return file


def vit(vocab_size: int) -> dict[str, object]:
    """The table `model` of a small CLIP."""
    tower = {"width": WIDTH, "layers": 2, "heads": HEADS}
    return {
        "embed_dim": EMBED_DIM,
        "image_size": IMAGE_SIZE,
        "activation": "quick_gelu",
        "image": {"kind": "vit", "patch_size": PATCH_SIZE, **tower},
        "text": {"vocab_size": vocab_size, "context_length": CONTEXT_LENGTH, **tower},
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_tiny_dataset(home / "data", n_icons=12)
    make_clip(home / "clip", layers=2)
    return home


def vocab_of(folder: Path) -> int:
    size: int = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    return size


def train(home: Path, recipe_file: Path, start: Path | None, *changes: str) -> int:
    folders = ["--data", str(home / "data"), "--runs-dir", str(recipe_file.parent / "runs")]
    command = ["train", str(recipe_file), *folders, *([] if start is None else ["--start", str(start)])]
    return main([*command, *(word for change in changes for word in ("--set", change))])


def test_a_checkpoint_of_transformers_is_trained_further_and_states_its_architecture(home, tmp_path):
    assert train(home, recipe(tmp_path), home / "clip") == 0
    folder = RunFolder(tmp_path / "runs" / "tuned")
    theirs = json.loads((home / "clip" / "preprocessor_config.json").read_text())
    assert json.loads(folder.image_spec_file.read_text())["mean"] == theirs["image_mean"]
    expected = ModelConfig.model_validate(vit(vocab_of(home / "clip")))
    assert ModelConfig.model_validate_json(folder.model_file.read_bytes()) == expected
    assert [step for step, _ in read_metrics(folder.metrics_file)["validation/icons_top1"]] == [0, 1]
    measure = ["evaluate", "--run", str(folder.path), "--which", "start", "--data", str(home / "data")]
    assert main([*measure, "--no-floors"]) == 0


def test_a_recipe_that_contradicts_the_checkpoint_is_refused(home, tmp_path, capsys):
    file = recipe(tmp_path, vit(vocab_of(home / "clip")))
    assert train(home, file, home / "clip", "model.activation=gelu") == 1
    assert (
        f"model.activation differs from {home / 'clip'}, which the run starts from" in capsys.readouterr().err
    )
    assert train(home, file, home / "clip", "model.text.layers=3") == 1
    assert "model.text.layers differs from" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "tuned").exists()


def test_weights_alone_are_read_with_a_tokenizer_and_what_the_recipe_says(home, tmp_path, capsys):
    file = recipe(tmp_path, vit(vocab_of(home / "clip")), SPECS)
    weights, tokenizer = home / "clip" / "model.safetensors", home / "clip" / "tokenizer.json"
    assert train(home, file, None, f"start.source={weights}", "start.tokenizer=nowhere.json") == 1
    assert "start.tokenizer nowhere.json: cannot be read" in capsys.readouterr().err
    assert train(home, file, None, f"start.source={weights}", f"start.tokenizer={tokenizer}") == 0
    assert RunFolder(tmp_path / "runs" / "tuned").start.is_file()

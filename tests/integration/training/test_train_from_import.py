"""A checkpoint of another library that was imported is trained, mixed and written as a model of our own."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from diptych.bundle.manifest import read_manifest
from diptych_training.checkpoint import load_run, read_checkpoint
from diptych_training.cli import main
from diptych_training.config import read_config
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.onnx.bundle_files import IMAGE_FILE
from diptych_training.export.proof.calibration import run_graph
from diptych_training.models.lora import adapter_weights
from diptych_training.run_folder import RunFolder
from diptych_training.train.metrics_log import read_metrics
from diptych_training.train.state import new_state
from support.hugging_face_checkpoints import make_chinese_clip
from support.pair_files import pair_files, write_files
from support.tiny_run import TINY_VIT, write_tiny_run

pytestmark = pytest.mark.usefixtures("curves_undrawn")

FEW = ("--ungated", "--proof-images", "20", "--no-optimise")
SHORT = ("--set", "run.steps=2", "--set", "run.validate_every=2", "--set", "run.batch_size=4")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model_repo` with `theirs/1`, and pictures of an own task.

    It is a run that was written as a CLIP of transformers and imported from there.
    """
    home = tmp_path_factory.mktemp("home")
    write_files(home / "pictures", pair_files(range(40)))
    write_tiny_run(home / "tiny", TINY_VIT)
    folder = ["--layout", "hugging_face", "--out", str(home / "clip")]
    assert main(["weights", str(home / "tiny"), *folder]) == 0
    assert import_as("theirs", home / "clip", home) == 0
    return home


def import_as(name: str, checkpoint: Path, home: Path, *more: str) -> int:
    return main(["import", str(checkpoint), "--name", name, *repository(home), *FEW, *more])


def repository(home: Path) -> list[str]:
    return ["--model-repo", str(home / "model_repo")]


def places(home: Path) -> list[str]:
    return ["--runs-dir", str(home / "runs"), *repository(home)]


def train_on_pictures(home: Path, name: str = "own-pairs", *changes: str) -> RunFolder:
    """Pack the pictures for `theirs/1` and train it on them for two steps."""
    start = ["--start", "theirs/1", *places(home)]
    pack = ["data", "pack", "--recipe", "own-pairs", "--train", str(home / "pictures"), "--hold-out", "0.3"]
    assert main([*pack, "--out", str(home / "packed"), *start]) == 0
    more = [part for change in changes for part in ("--set", change)]
    train = ["train", "own-pairs", "--name", name, "--data", str(home / "packed")]
    assert main([*train, *start, *SHORT, *more]) == 0
    return RunFolder(home / "runs" / name)


def test_a_run_keeps_its_weights_by_way_of_transformers(home: Path) -> None:
    imported = load_file(home / "model_repo" / "theirs" / "1" / "weights.safetensors")
    own = load_run(home / "tiny").model.state_dict()
    assert imported.keys() == own.keys()
    assert all(torch.equal(imported[name], tensor) for name, tensor in own.items())


def test_own_pictures_train_an_imported_model_with_no_further_keys(home: Path) -> None:
    bundle = home / "model_repo" / "theirs" / "1"
    assert {"weights.safetensors", "model.json"} <= read_manifest(bundle).files.keys()
    assert "Yes, by `diptych-train train --start`" in (bundle / "MODEL_CARD.md").read_text()

    run = train_on_pictures(home)
    config = read_config(run.config_file)
    manifest = read_manifest(bundle)
    assert (config.preprocess, config.text) == (manifest.image, manifest.text)
    steps = [step for step, _ in read_metrics(run.metrics_file)["validation/pairs_top1"]]
    assert steps == [0, 2]


def test_an_imported_vit_learns_by_adapters_and_its_bundle_has_no_new_parts(home: Path) -> None:
    run = train_on_pictures(
        home, "adapted", "lock.image=all", "lock.text=all", "lora.rank=2", "optim.lr=0.05"
    )
    run.curves_file.unlink()  # undrawn
    data = ["--data", str(home / "packed"), *places(home)]
    last = ["--run", "adapted", "--which", "last"]
    export = ["export", *last, "--name", "adapted", "--ungated", "--no-optimise", "--precisions", "fp32"]
    assert main([*export, *data]) == 0

    before, after = (home / "model_repo" / name / "1" for name in ("theirs", "adapted"))
    imported, learned = (load_file(bundle / "weights.safetensors") for bundle in (before, after))
    changed = {name for name, tensor in learned.items() if not torch.equal(tensor, imported[name])}
    assert learned.keys() == imported.keys()
    assert {name.rpartition("resblocks.")[2] for name in changed} == {
        f"{block}.{part}" for block in range(2)
        for part in ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    }  # fmt: skip
    assert not [
        weight.name for weight in onnx.load(after / IMAGE_FILE).graph.initializer if "lora" in weight.name
    ]

    config = read_config(run.config_file)
    state = new_state(config, read_checkpoint(run.start))
    state.restore(read_checkpoint(run.last))
    assert state.ema is not None
    assert adapter_weights(state.ema.model)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    wanted = TorchEncoder(state.ema.model, config.preprocess).encode_image(pixels)
    np.testing.assert_allclose(run_graph(after / IMAGE_FILE, [pixels]), wanted, atol=1e-4)


@pytest.mark.long
def test_the_run_is_mixed_exported_and_imported_as_one_of_our_own(home: Path) -> None:
    bundle = home / "model_repo" / "theirs" / "1"
    if not (home / "runs" / "own-pairs").exists():
        train_on_pictures(home)
    data = ["--data", str(home / "packed")]
    mix = ["interpolate", "--run", "own-pairs", *data, *places(home)]
    assert main([*mix, "--write", "0.5", "--name", "mixed"]) == 0
    export = ["export", "--run", "mixed", "--name", "mine", "--ungated", *data, *places(home)]
    assert main([*export, "--precisions", "fp32", "--no-optimise"]) == 0
    assert read_manifest(home / "model_repo" / "mine" / "1").source["started_from"] == "theirs/1"
    assert main(["import", str(bundle), "--name", "again", *repository(home), *FEW]) == 0
    again = home / "model_repo" / "again" / "1" / "weights.safetensors"
    assert again.read_bytes() == (bundle / "weights.safetensors").read_bytes()


@pytest.mark.long
def test_a_kind_that_we_have_not_is_imported_and_says_why_it_cannot_be_trained(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = make_chinese_clip(home / "chinese")
    assert import_as("chinese", checkpoint, home) == 0
    reason = "model_type is 'chinese_clip': of transformers' models, diptych has the architectures of clip"
    assert f"no weights to train from: {reason}" in capsys.readouterr().out
    bundle = home / "model_repo" / "chinese" / "1"
    assert not (bundle / "weights.safetensors").exists()
    assert f"No: {reason}" in (bundle / "MODEL_CARD.md").read_text()

    train = ["train", "own-pairs", "--data", str(home / "nothing"), *places(home)]
    assert main([*train, "--start", "chinese/1"]) == 1
    assert f"chinese/1 holds no weights to train from: {reason}" in capsys.readouterr().err
    assert main([*train, "--start", str(checkpoint)]) == 1
    assert f"{checkpoint} cannot be trained further: {reason}" in capsys.readouterr().err


def test_weights_can_be_left_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_as("bare", home / "clip", home, "--no-weights") == 0
    assert not (home / "model_repo" / "bare" / "1" / "weights.safetensors").exists()
    train = ["train", "own-pairs", "--data", str(home / "nothing"), *places(home)]
    assert main([*train, "--start", "bare/1"]) == 1
    assert (
        "bare/1 holds no weights to train from: it was imported with --no-weights" in capsys.readouterr().err
    )
    again = ["import", str(home / "model_repo" / "bare" / "1"), "--name", "again", *repository(home), *FEW]
    assert main(again) == 1
    assert "it was imported with --no-weights; import its original again" in capsys.readouterr().err

"""Start from a model, compare with it, mix with it: from the command line to files."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from diptych_training.checkpoint import load_run, read_checkpoint
from diptych_training.cli import main
from diptych_training.config import read_config
from diptych_training.errors import TrainingConfigError
from diptych_training.run_folder import RunFolder
from diptych_training.train.interpolate.interpolation import interpolate_weights
from support.tiny_run import TINY_VIT, write_tiny_dataset, write_tiny_run

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji")

RECIPE = """
name = "tuned"
start = "origin"
[data.mixture]
icons = 1.0
[optim]
lr = 1e-2
warmup_steps = 1
[run]
steps = 4
batch_size = 8
precision = "fp32"
validate_every = 2
log_every = 1
best_by = ["icons_top1"]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data set, a run `origin`, and a recipe that starts from it."""
    return make_home(tmp_path)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a home where the run `tuned` has ended."""
    home = make_home(tmp_path_factory.mktemp("home"))
    assert train(home) == 0
    return home


@pytest.fixture
def tuned_home(once: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(once, tmp_path / "home")


def make_home(path: Path) -> Path:
    write_tiny_dataset(path / "data", n_icons=12)
    write_tiny_run(path / "runs" / "origin")
    (path / "tuned.toml").write_text(RECIPE)
    return path


def train(home: Path, *more: str) -> int:
    folders = ["--data", str(home / "data"), "--runs-dir", str(home / "runs")]
    return main(["train", str(home / "tuned.toml"), *folders, "--model-repo", str(home / "models"), *more])


def weights(home: Path, run: str, which: str) -> dict[str, torch.Tensor]:
    return dict(load_run(home / "runs" / run, which).model.state_dict())


def test_a_run_starts_from_another_with_its_words_its_preparation_and_its_weights(once):
    origin, tuned = RunFolder(once / "runs" / "origin"), RunFolder(once / "runs" / "tuned")
    assert tuned.tokenizer_file.read_bytes() == origin.tokenizer_file.read_bytes()
    assert json.loads(tuned.image_spec_file.read_text()) == json.loads(origin.image_spec_file.read_text())
    start, original = weights(once, "tuned", "start"), weights(once, "origin", "best")
    assert all(torch.equal(tensor, original[name]) for name, tensor in start.items())
    assert any(not torch.equal(t, original[n]) for n, t in weights(once, "tuned", "last").items())


def test_a_run_records_what_it_learns_from_and_a_mix_of_it_what_it_is_mixed_with(tuned_home):
    home = tuned_home
    write_tiny_run(home / "runs" / "third", seed=2)
    learned = load_run(home / "runs" / "tuned").provenance
    assert learned.licences() == {"tiny-drawings/train-set": "MIT", "origin (best, step 7)": "unknown"}
    where = ["--runs-dir", str(home / "runs"), "--data", str(home / "data")]
    mix = ["interpolate", "--run", str(home / "runs" / "tuned"), "--write", "0.5", *where]
    assert main([*mix, "--name", "mixed"]) == 0
    assert load_run(home / "runs" / "mixed").provenance == learned
    assert main([*mix, "--name", "other", "--original", "third"]) == 0
    assert "third (best, step 7)" in load_run(home / "runs" / "other").provenance.licences()


def test_a_start_of_the_command_line_takes_the_place_of_the_recipe_s(home):
    write_tiny_run(home / "runs" / "second", seed=1)
    assert train(home, "--start", "second") == 0
    assert read_config(home / "runs" / "tuned" / "config.toml").start.source == "second"
    start, second = weights(home, "tuned", "start"), weights(home, "second", "best")
    assert all(torch.equal(tensor, second[name]) for name, tensor in start.items())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--start", "nowhere"], "'nowhere' is not a folder, a run in"),
        (["--set", "model.embed_dim=8"], "model.embed_dim differs from origin (best, step 7)"),
        (["--set", "model.text.width=64"], "model.text.width differs from origin"),
        (["--set", "text.clean=none"], "text.clean differs from origin"),
        (["--set", "lock.image=7"], "lock.image is 7, the image tower has 4 layers"),
        (["--set", "start.which=worst"], "start"),
    ],
)
def test_what_contradicts_the_start_is_named(home, capsys, flags, message):
    assert train(home, *flags) == 1
    assert message in capsys.readouterr().err
    assert not (home / "runs" / "tuned").exists()


def test_one_table_says_what_was_gained_and_what_was_lost(once, tmp_path, capsys):
    write_tiny_dataset(tmp_path / "old", n_icons=9)
    command = ["evaluate", "--run", str(once / "runs" / "tuned"), "--data", str(once / "data")]
    out = ["--out", str(tmp_path / "out")]
    assert main([*command, "--compare", "start", "--also-on", str(tmp_path / "old"), *out]) == 0
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [measured["task"] for measured in comparison["measured"]] == ["new", "old"]
    table = (tmp_path / "out" / "comparison.md").read_text()
    assert "tuned (best" in table
    assert "tuned (start" in table
    assert table.count("tiny-drawings/eval: 1 icon sets") == 2
    assert table in capsys.readouterr().out


def test_mixes_are_measured_and_one_is_kept_as_a_run(tuned_home, capsys):
    home = tuned_home
    command = ["interpolate", "--run", str(home / "runs" / "tuned"), "--which", "last"]
    folders = [
        "--runs-dir",
        str(home / "runs"),
        "--data",
        str(home / "data"),
        "--also-on",
        str(home / "data"),
    ]
    assert main([*command, *folders, "--alphas", "0.5,1"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("| ")] == [
        "alpha",
        "0",
        "0.5",
        "1",
    ]
    assert "new: tiny-drawings/validation icon sets" in printed
    assert "old: tiny-drawings/validation emoji styles" in printed

    assert main([*command, *folders, "--write", "0.5", "--name", "mixed"]) == 0
    mixed, tuned = load_run(home / "runs" / "mixed"), weights(home, "tuned", "last")
    origin = weights(home, "origin", "best")
    for name, tensor in mixed.model.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, (origin[name] + tuned[name]) / 2, atol=1e-7)
    assert mixed.config.name == "mixed"
    assert mixed.history == {"started_from": "origin", "interpolated": {"alpha": 0.5, "run": "tuned"}}
    assert read_checkpoint(RunFolder(home / "runs" / "mixed").start).state["step"] == 0
    assert main([*command, *folders, "--write", "0.5", "--name", "mixed"]) == 1
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "started from random weights: pass --original with the model to mix with"),
        (["--original", "origin", "--alphas", "a,b"], "must be numbers"),
        (["--original", "origin", "--alphas", "2"], "alpha is 2.0, must be from 0"),
        (["--original", "origin", "--write", "0.5"], "pass its name with --name"),
        (
            ["--original", "vit", "--write", "0.5", "--name", "x"],
            "vit (best, step 7) lacks visual",
        ),
    ],
)
def test_a_mix_that_cannot_be_made_is_one_line(home, capsys, flags, message):
    write_tiny_run(home / "runs" / "vit", image=TINY_VIT)
    command = ["interpolate", "--run", str(home / "runs" / "origin"), "--data", str(home / "data")]
    assert main([*command, "--runs-dir", str(home / "runs"), *flags]) == 1
    assert message in capsys.readouterr().err


ORIGINAL = {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(3)}
TUNED = {"w": torch.tensor([4.0, 2.0]), "n": torch.tensor(7)}


def test_the_ends_are_the_two_models_and_between_them_is_a_line():
    assert torch.equal(interpolate_weights(ORIGINAL, TUNED, 0.0)["w"], ORIGINAL["w"])
    assert torch.equal(interpolate_weights(ORIGINAL, TUNED, 1.0)["w"], TUNED["w"])
    assert interpolate_weights(ORIGINAL, TUNED, 0.25)["w"].tolist() == [1.0, 2.0]
    assert interpolate_weights(ORIGINAL, TUNED, 0.25)["n"].item() == 7


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_alpha_outside_the_line_is_refused(alpha):
    with pytest.raises(TrainingConfigError, match="must be from 0"):
        interpolate_weights(ORIGINAL, TUNED, alpha)

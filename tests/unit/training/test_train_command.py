"""`diptych-train train` from the command line to the run folder."""

from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.config import dump_config, read_config
from diptych_training.train.command import CONFIGS
from support.tiny_run import write_tiny_dataset, write_tiny_run


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A small recipe, its data and its folder for runs."""
    write_tiny_dataset(tmp_path / "data", n_icons=12)
    small = read_config(
        write_tiny_run(tmp_path / "model") / "config.toml",
        ["name=small", "run.steps=2", "run.batch_size=4", "run.precision=fp32", "data.mixture={icons = 1.0}"],
    )
    (tmp_path / "small.toml").write_text(dump_config(small))
    folders = ["--data", str(tmp_path / "data"), "--runs-dir", str(tmp_path / "runs")]
    return ["train", str(tmp_path / "small.toml"), *folders]


def test_training_states_its_cost_first_and_leaves_a_whole_run_folder(arguments, tmp_path, capsys):
    assert main([*arguments, "--name", "mine"]) == 0
    printed = capsys.readouterr().out
    assert "parameters" in printed
    assert "images/s" in printed
    assert "MiB of memory" in printed
    assert {path.name for path in (tmp_path / "runs" / "mine").iterdir()} == {
        "best.safetensors", "checkpoints", "config.toml", "curves.png", "metrics.csv",
        "model.json", "preprocess.json", "tensorboard", "text.json", "tokenizer.json",
    }  # fmt: skip


def test_a_mistake_is_one_line_that_names_the_key(arguments, capsys):
    assert main([*arguments, "--set", "run.stepz=2"]) == 1
    assert "run.stepz: unknown key" in capsys.readouterr().err


def test_data_that_is_not_there_is_one_line_too(arguments, tmp_path, capsys):
    assert main([*arguments, "--data", str(tmp_path / "nowhere")]) == 1
    assert "no data set in" in capsys.readouterr().err


def test_shipped_recipes_are_found_by_name(tmp_path, capsys):
    assert (CONFIGS / "pictograms.toml").is_file()
    assert main(["train", "pictograms", "--data", str(tmp_path)]) == 1  # the recipe is found, the data is not
    assert "no data set in" in capsys.readouterr().err

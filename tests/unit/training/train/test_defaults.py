"""Open keys of a recipe follow from its data and its other keys, and do not change on a resume."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diptych_training.checkpoint import load_run
from diptych_training.cli import main
from diptych_training.config import TrainConfig, dump_config, read_config
from diptych_training.data.packed import PackedDataset, SourceEntry, read_dataset, write_index
from diptych_training.run_folder import RunFolder
from diptych_training.train import train_run
from diptych_training.train.create_run import create_run
from diptych_training.train.defaults import fastest_precision, fill_from_run, with_defaults
from support.tiny_run import write_tiny_dataset, write_tiny_run

MODEL = """
[model]
architecture = "ViT-B-32"
"""


def recipe(tmp_path: Path, *overrides: str) -> TrainConfig:
    file = tmp_path / "open.toml"
    file.write_text(f'name = "open"\n{MODEL}')
    return read_config(file, ["run.steps=300", *overrides])


def dataset(*kinds_and_counts: tuple[str, str, int]) -> PackedDataset:
    entries = {
        f"{split}-{kind}": SourceEntry(split=split, kind=kind, n=n, licence="", author="", recipe="")
        for split, kind, n in kinds_and_counts
    }
    return PackedDataset(Path("nowhere"), "own", 224, entries)


FIFTY = dataset(("train", "pairs", 40), ("validation", "pairs", 10))


def test_open_keys_fit_a_data_set_of_fifty_pairs(tmp_path):
    config = with_defaults(recipe(tmp_path), FIFTY)
    assert config.data.mixture == {"pairs": 1.0}
    assert config.run.best_by == ("pairs_top1",)
    assert config.run.batch_size == 32
    assert config.optim.warmup_steps == 30
    file = tmp_path / "ran.toml"
    file.write_text(dump_config(config))
    assert read_config(file) == config


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"avx512_f": True}, "fp32")],
)
def test_processor_that_multiplies_in_bf16_trains_in_it(tmp_path, monkeypatch, capabilities, precision):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)
    assert fastest_precision(torch.device("cpu")) == precision
    assert with_defaults(recipe(tmp_path), FIFTY, precision).run.precision == precision
    assert with_defaults(recipe(tmp_path, "run.precision=fp32"), FIFTY, precision).run.precision == "fp32"


def test_resumed_run_keeps_the_precision_that_another_machine_chose(tmp_path):
    ran = with_defaults(recipe(tmp_path), FIFTY, "bf16")
    assert fill_from_run(recipe(tmp_path), ran).run.precision == "bf16"


def test_all_kinds_get_the_same_weight_in_training_and_validation(tmp_path):
    pictograms = dataset(("train", "emoji", 900), ("train", "icons", 9), ("validation", "emoji", 5))
    config = with_defaults(recipe(tmp_path, "run.steps=9000"), pictograms)
    assert config.data.mixture == {"emoji": 1.0, "icons": 1.0}
    assert config.run.best_by == ("emoji_top1",)
    assert (config.run.batch_size, config.optim.warmup_steps) == (256, 200)


@pytest.mark.parametrize(("batch_size", "streams"), [(256, 8), (20, 5), (7, 7), (22, 2)])
def test_streams_of_pairs_divide_the_batch(tmp_path, batch_size, streams):
    config = recipe(tmp_path, "data.pairs.train='a.tar'", f"run.batch_size={batch_size}")
    assert with_defaults(config, FIFTY).data.pairs.streams == streams


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Trains a tiny recipe with open data keys."""
    write_tiny_dataset(tmp_path / "data", n_icons=12)
    small = read_config(write_tiny_run(tmp_path / "model") / "config.toml")
    text = dump_config(small).split("[data")[0]
    assert "mixture" not in text
    (tmp_path / "small.toml").write_text(f'{text}\n[run]\nsteps = 2\nprecision = "fp32"\nn_threads = 1\n')
    return ["train", str(tmp_path / "small.toml"), "--name", "small", "--data", str(tmp_path / "data"),
            "--runs-dir", str(tmp_path / "runs")]  # fmt: skip


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize("of_first", ["fp32", "bf16"])
def test_each_rank_uses_the_precision_that_the_first_one_recorded(tmp_path, monkeypatch, of_first):
    def create_on_first(run_dir: Path, config: TrainConfig, *rest: Any, **options: Any) -> None:
        run = config.run.model_copy(update={"precision": of_first})
        create_run(run_dir, config.model_copy(update={"run": run}), *rest, **options)

    file = tmp_path / "small.toml"
    file.write_text(file.read_text().replace('precision = "fp32"\n', ""))
    monkeypatch.setattr(train_run, "create_run", create_on_first)
    dataset = read_dataset(tmp_path / "data")
    loop = train_run.prepare(read_config(file), dataset, tmp_path / "run", resume=False)
    loop.log.close()
    assert loop.config.run.precision == of_first


@pytest.mark.usefixtures("curves_undrawn")
def test_without_validation_data_the_last_weights_are_the_best(command, tmp_path, capsys):
    data = read_dataset(tmp_path / "data")
    training = {name: entry for name, entry in data.entries.items() if entry.split == "train"}
    write_index(replace(data, entries=training))
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "finished at step 2; no validation data: the last is the best" in captured.out
    assert "step 2: " not in captured.out + captured.err
    assert load_run(tmp_path / "runs" / "small", "best").step == 2


@pytest.mark.usefixtures("curves_undrawn")
def test_a_run_with_open_keys_resumes_after_its_data_has_grown(command, tmp_path):
    assert main(command) == 0
    ran = read_config(RunFolder(tmp_path / "runs" / "small").config_file)
    assert (ran.run.batch_size, ran.run.best_by) == (16, ("emoji_top1", "icons_top1"))
    data = read_dataset(tmp_path / "data")
    for suffix in (".npy", ".jsonl"):
        files = tmp_path / "data" / "train"
        shutil.copyfile(files / f"train-set{suffix}", files / f"more{suffix}")
    write_index(replace(data, entries={**data.entries, "more": data.entries["train-set"]}))
    assert main([*command, "--resume"]) == 0
    assert main([*command[:2], "--name", "anew", *command[4:]]) == 0
    assert read_config(RunFolder(tmp_path / "runs" / "anew").config_file).run.batch_size == 32

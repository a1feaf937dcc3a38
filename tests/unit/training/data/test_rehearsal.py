"""Old data in the batches of new: exact shares, the same after a break, and less is forgotten."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diptych_training.checkpoint import load_run
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.packed import PackedDataset, PackedItem, read_dataset, write_index, write_source
from diptych_training.errors import TrainingConfigError
from diptych_training.train.batches.batch import Batch
from diptych_training.train.batches.training_data import training_data
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks
from diptych_training.train.train_run import prepare
from support.pair_files import write_tars
from support.small_recipe import small_recipe, write_small_recipe
from support.stopped_run import stopped_after
from support.tiny_run import write_tiny_dataset

N_OLD = 3  # of eight


def write_other_dataset(path: Path, labels: list[str]) -> PackedDataset:
    """A data set like the tiny one whose images to learn from are dark, and bear these labels."""
    tiny = write_tiny_dataset(path, n_icons=12)
    images = np.random.default_rng(1).integers(0, 100, (len(labels), 32, 32, 3), dtype=np.uint8)
    items = [PackedItem(id=label, label=label) for label in labels]
    write_source(path, "train", "train-set", images, items)
    entry = tiny.entries["train-set"].__class__(**{**vars(tiny.entries["train-set"]), "n": len(labels)})
    write_index(PackedDataset(path, "other", 32, {**tiny.entries, "train-set": entry}))
    return read_dataset(path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_tiny_dataset(tmp_path / "new", n_icons=12)
    write_other_dataset(tmp_path / "old", [f"old thing {index}" for index in range(20)])
    return tmp_path


def recipe(home: Path, *overrides: str) -> TrainConfig:
    file = write_small_recipe(home / "small.toml", small_recipe())
    given = [f"data.rehearsal.old.data={home / 'old'}", f"data.rehearsal.old.share={N_OLD / 8}"]
    return read_config(file, [*given, *overrides])


def batch(home: Path, config: TrainConfig, step: int, ranks: Ranks = SINGLE_RANK) -> Batch:
    folder = home / "runs" / "run"
    if not folder.exists():
        prepare(config, read_dataset(home / "new"), folder, resume=False).log.close()
    data = training_data(read_dataset(home / "new"), config)
    return data.batches(folder / "tokenizer.json", ranks, first_step=step, position={}).make(step)


def darkness(pixels: torch.Tensor) -> list[bool]:
    """Which images of a batch are of the old data."""
    mean, std = torch.tensor((0.3, 0.5, 0.8)), torch.tensor((0.2, 0.3, 0.4))
    return [bool((image.permute(1, 2, 0) * std + mean).max() < 100 / 255) for image in pixels]


def test_every_batch_has_exactly_its_share_of_old_items_behind_the_new(home):
    for step in range(4):
        found = batch(home, recipe(home), step)
        assert darkness(found.images) == [False] * 5 + [True] * N_OLD
        assert len(found.input_ids) == len(found.keys) == 8


def test_a_batch_is_a_function_of_seed_and_step(home):
    one, again = (batch(home, recipe(home), 3) for _ in range(2))
    assert torch.equal(one.images, again.images)
    assert torch.equal(one.input_ids, again.input_ids)
    for other in (batch(home, recipe(home), 4), batch(home, recipe(home, "seed=1"), 3)):
        assert not torch.equal(one.images[-N_OLD:], other.images[-N_OLD:])


def test_ranks_together_have_the_items_of_one(home):
    config = recipe(home, "data.rehearsal.old.share=0.5")
    whole = batch(home, config, 2)
    halves = [batch(home, config, 2, Ranks(rank, 2)) for rank in range(2)]
    assert [darkness(half.images) for half in halves] == [[False, False, True, True]] * 2
    keys = torch.cat([half.keys for half in halves])
    assert sorted(keys.tolist()) == sorted(whole.keys.tolist())


@pytest.mark.long
@pytest.mark.parametrize("own", ["packed", "pairs"])
def test_an_interrupted_run_gives_the_weights_of_an_unbroken_one(home, own, capsys):
    pattern = write_tars(home / "s", 3, 9)
    of_pairs = [f"data.pairs.train='{pattern}'", "data.pairs.streams=4", "data.pairs.workers=0"]
    overrides = ["data.rehearsal.old.share=0.5", *(of_pairs if own == "pairs" else [])]
    config, dataset = recipe(home, *overrides), read_dataset(home / "new")

    def train(name: str, *, resume: bool = False, stop_after: int | None = None) -> bool:
        loop = prepare(config, dataset, home / "runs" / name, resume=resume)
        if stop_after is not None:
            loop = stopped_after(loop, stop_after)
        is_done = loop.train()
        loop.log.close()
        loop.batches.close()
        return is_done

    assert train("unbroken")
    assert not train("broken", stop_after=4)
    assert train("broken", resume=True)
    unbroken, broken = (load_run(home / "runs" / name, "last") for name in ("unbroken", "broken"))
    for name, tensor in unbroken.model.state_dict().items():
        assert torch.equal(tensor, broken.model.state_dict()[name]), name
    assert broken.history == {"rehearsed": {"old": 0.5}}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.rehearsal.old.share=0.01"],
            "data.rehearsal.old.share is 0.01: less than one item of run.batch_size 8",
        ),
        (
            ["data.rehearsal.old.share=0.99"],
            "shares of 0.99 leave no item of run.batch_size 8 for other data",
        ),
        (["data.rehearsal.old.share=1"], "data.rehearsal.old.share is 1: must be less than 1"),
        (["data.rehearsal.x.share=0.5"], "data.rehearsal.x.data is missing"),
        (["data.rehearsal.old.weight=1"], "data.rehearsal.old.weight: unknown key"),
        (
            ["data.pairs.train='a.tar'", "data.pairs.streams=4"],
            "8, less 3 of data.rehearsal, is not a multiple",
        ),
    ],
)
def test_shares_that_cannot_be_are_named(home, overrides, message):
    with pytest.raises(TrainingConfigError, match=message):
        recipe(home, *overrides)

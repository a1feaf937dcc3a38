"""Old data in the batches of new: exact shares, the same after a break, and less is forgotten."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.bundle.text.tokenizer import TextTokenizer, pad
from diptych_training.checkpoint import load_run
from diptych_training.cli import main
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.packed import PackedDataset, PackedItem, read_dataset, write_index, write_source
from diptych_training.errors import DataError, TrainingConfigError
from diptych_training.train.batches.batch import (Batch)
from diptych_training.train.train_run import prepare
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks
from diptych_training.train.defaults import check_shares
from diptych_training.train.batches.training_data import training_data
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


def test_rehearsed_items_are_drawn_by_numbers_of_their_own(home):
    """Three times the same data set in equal shares: each draws other items."""
    twins = [f"data.rehearsal.{name}.data={home / 'new'}" for name in ("one", "two")]
    shares = [f"data.rehearsal.{name}.share=0.333" for name in ("one", "two")]
    file = write_small_recipe(home / "small.toml", small_recipe())
    config = read_config(file, [*twins, *shares, "run.batch_size=24"])
    own, one, two = batch(home, config, 0).images.split(8)
    for part, other in ((own, one), (own, two), (one, two)):
        assert not torch.equal(part, other)


def test_shares_of_several_data_sets_are_exact_and_in_their_order(home):
    labels = [f"older thing {index}" for index in range(20)]
    older = write_other_dataset(home / "older", labels).source("train-set")
    more = [f"data.rehearsal.older.data={home / 'older'}", "data.rehearsal.older.share=0.25"]
    config = recipe(home, *more)
    assert (config.n_own, config.rehearsed) == (3, {"old": 3, "older": 2})
    tokenizer_file = home / "runs" / "run" / "tokenizer.json"
    for step in range(3):
        found = batch(home, config, step)
        assert darkness(found.images) == [False] * 3 + [True] * 5
        tokenizer = TextTokenizer(tokenizer_file, config.text)
        known = {tuple(tokenizer.ids(item.label)[0].tolist()) for item in older.items}
        texts = [tuple(one for one in row.tolist() if one) for row in found.input_ids]
        assert [text in known for text in texts] == [False] * 6 + [True] * 2


def test_ranks_together_have_the_items_of_one(home):
    config = recipe(home, "data.rehearsal.old.share=0.5")
    whole = batch(home, config, 2)
    halves = [batch(home, config, 2, Ranks(rank, 2)) for rank in range(2)]
    assert [darkness(half.images) for half in halves] == [[False, False, True, True]] * 2
    keys = torch.cat([half.keys for half in halves])
    assert sorted(keys.tolist()) == sorted(whole.keys.tolist())


def test_a_label_of_new_and_old_data_is_one_label(home):
    write_other_dataset(home / "old", ["thing 1", "thing 2"])
    config = recipe(home, "data.source_weights={}", "run.batch_size=64", "data.rehearsal.old.share=0.5")
    positives = batch(home, config, 0).positives
    assert positives[:32, 32:].any()


def test_old_data_are_mixed_by_their_own_weights(home):
    named = recipe(
        home, "data.rehearsal.old.mixture={icons=1.0}", "data.rehearsal.old.source_weights={train-set=2.0}"
    )
    plain = batch(home, recipe(home), 1)
    assert torch.equal(batch(home, named, 1).images, plain.images)


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
        (["data.rehearsal.old.share=0.01"], "data.rehearsal.old.share is 0.01: less than one item of run.batch_size 8"),
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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.rehearsal.old.data=nowhere"], "data.rehearsal.old.data: no data set in nowhere"),
        (["data.rehearsal.old.mixture={emoji=1.0}"], "data.rehearsal.old.mixture: emoji not in the data"),
        (["data.rehearsal.old.source_weights={noto=1.0}"], "data.rehearsal.old.source_weights: noto not in"),
    ],
)
def test_old_data_that_are_not_there_are_named(home, overrides, message):
    with pytest.raises((DataError, TrainingConfigError), match=message):
        batch(home, recipe(home, *overrides), 0)


def test_smaller_old_images_are_refused(home):
    write_tiny_dataset(home / "old", n_icons=12, size=16)
    with pytest.raises(
        DataError, match=r"data.rehearsal.old.data: .*images are 16 px, preprocess.size is 32"
    ):
        batch(home, recipe(home), 0)


def test_larger_old_images_are_shrunk(home):
    write_tiny_dataset(home / "old", n_icons=12, size=64)
    assert batch(home, recipe(home), 0).images.shape[-1] == 32


def test_a_share_that_ranks_cannot_divide_is_refused(home):
    with pytest.raises(TrainingConfigError, match=r"data.rehearsal.old.share is 3 items of run.batch_size 8"):
        check_shares(recipe(home), Ranks(0, 2))


@pytest.mark.long
def test_what_is_rehearsed_is_forgotten_less(home):
    """Three runs: the old data, the new data from there, and both from there. Judged on the old images."""
    fast = ["optim.lr=3e-3", "run.batch_size=20", "optim.warmup_steps=5", "run.validate_every=1000"]
    config = recipe(home, *fast, "run.steps=250")
    learned = config.model_copy(
        update={"name": "first", "data": config.data.model_copy(update={"rehearsal": {}})}
    )
    loop = prepare(learned, read_dataset(home / "old"), home / "runs" / "first", resume=False)
    assert loop.train()
    loop.log.close()
    file = str(home / "small.toml")
    folders = ["--data", str(home / "new"), "--runs-dir", str(home / "runs"), "--start", "first"]
    settings = [
        word for override in [*fast, "run.steps=40", "start.which=last"] for word in ("--set", override)
    ]
    rehearsing = ["--set", f"data.rehearsal.old.data={home / 'old'}"]
    assert main(["train", file, *folders, *settings, "--name", "careless"]) == 0
    assert main(["train", file, *folders, *settings, "--name", "careful", *rehearsing]) == 0
    first, careless, careful = (known(home, name) for name in ("first", "careless", "careful"))
    assert first >= 0.9
    assert careful >= careless + 0.3


def known(home: Path, run: str) -> float:
    """Share of the old images whose best text among the old labels is their own."""
    trained = load_run(home / "runs" / run, "last")
    source = read_dataset(home / "old").source("train-set")
    tokenizer = TextTokenizer(trained.tokenizer_file, trained.text_spec)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.3, 0.5, 0.8), (0.2, 0.3, 0.4)))
    pixels = torch.from_numpy(np.array(source.images)).permute(0, 3, 1, 2).float() / 255
    ids = torch.from_numpy(
        pad([tokenizer.ids(item.label)[0] for item in source.items], trained.text_spec)
    ).long()
    with torch.no_grad():
        images = torch.nn.functional.normalize(trained.model.encode_image((pixels - mean) / std), dim=-1)
        texts = torch.nn.functional.normalize(trained.model.encode_text(ids), dim=-1)
    return float(((images @ texts.T).argmax(dim=1) == torch.arange(len(ids))).float().mean())

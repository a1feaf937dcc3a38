"""A batch is a pure function of seed and step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.packed import PackedItem, PackedSource
from diptych_training.train.batches.packed import PackedBatches
from support.tiny_run import write_tiny_dataset, write_tiny_run

OVERRIDES = [
    "run.steps=10", "run.batch_size=32", "run.start_size=16", "run.start_fraction=0.5",
    "data.mixture={icons = 1.0}", "augment.affine_probability=0.5",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_tiny_run(home / "run")
    return home


@pytest.fixture(scope="module")
def sources(home: Path) -> list[PackedSource]:
    return write_tiny_dataset(home / "data", n_icons=5).sources("train")


def maker(home: Path, sources: list[PackedSource], *overrides: str) -> PackedBatches:
    config: TrainConfig = read_config(home / "run" / "config.toml", [*OVERRIDES, *overrides])
    return PackedBatches(sources, TextTokenizer(home / "run" / "tokenizer.json", config.text), config)


def test_a_batch_depends_only_on_seed_and_step(home, sources):
    one, other = maker(home, sources).make(7), maker(home, sources).make(7)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.input_ids, other.input_ids)
    assert not torch.equal(one.input_ids, maker(home, sources).make(8).input_ids)
    assert not torch.equal(one.input_ids, maker(home, sources, "seed=1").make(7).input_ids)


def test_the_first_steps_see_small_images(home, sources):
    batches = maker(home, sources)
    assert [batches.make(step).images.shape[-1] for step in (0, 4, 5, 9)] == [16, 16, 32, 32]


def test_items_with_the_same_label_are_positives(home, sources):
    batch = maker(home, sources).make(0)  # 32 draws from 20 labels: some come twice
    labels = [tuple(row.tolist()) for row in batch.input_ids]
    expected = [[one == other for other in labels] for one in labels]
    assert batch.positives.tolist() == expected
    assert batch.positives.sum() > len(labels)


@pytest.mark.parametrize("are_labels", [True, False])
def test_texts_that_differ_in_articles_case_or_punctuation_are_positives(home, sources, are_labels):
    things = ("cat", "dog", "emu")
    written = [form.format(thing) for form in ("{}", "A {}", "the {}.", "{}!") for thing in things]
    items = tuple(
        PackedItem(text, text) if are_labels else PackedItem(text, f"{number}", captions=(text,))
        for number, text in enumerate(written)
    )
    source = replace(sources[0], images=sources[0].images[: len(items)], items=items)
    batch = maker(home, [source], "data.captions={label = 1e-9, label_keywords = 0.0, caption = 1.0}").make(0)
    assert len(batch.input_ids.unique(dim=0)) > 2 * len(things)
    assert len(batch.positives.unique(dim=0)) == len(things)


def test_pixels_are_normalised_by_mean_and_deviation_of_the_recipe(home, sources):
    batches = maker(home, sources, "run.start_fraction=0.0", "augment.affine_probability=0.0")
    pixels = batches.make(0).images
    mean, std = torch.tensor((0.3, 0.5, 0.8)), torch.tensor((0.2, 0.3, 0.4))
    restored = pixels.permute(0, 2, 3, 1) * std + mean
    drawn = {tuple((image * 255).round().int().flatten().tolist()[:48]) for image in restored}
    stored = {tuple(image.flatten().tolist()[:48]) for image in sources[0].images}
    assert drawn <= stored

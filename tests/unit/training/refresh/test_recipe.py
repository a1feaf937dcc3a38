"""The recipe of a refresh: chosen by the number of pairs, and a file that the trainer reads."""

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from diptych.bundle.manifest import Manifest, read_manifest
from diptych_training.config import TrainConfig, model_tables, read_config
from diptych_training.data.packed import PackedDataset, SourceEntry, write_index
from diptych_training.refresh.evaluation.results import MIN_OWN_PAIRS
from diptych_training.refresh.folds import n_models
from diptych_training.refresh.recipe import OldPairs, old_pairs, own_of_batch, steps_of, write_recipe
from support.default_model import default_bundle
from support.small_recipe import small_recipe

OLD = SourceEntry(split="train", kind="icons", n=200, licence="MIT", author="somebody", recipe="abc")


@pytest.fixture
def shipped(tmp_path: Path) -> PackedDataset:
    return PackedDataset(tmp_path / 'a "quoted" \\ folder', "pictograms-proof", 64, {"old": OLD})


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return read_manifest(default_bundle())


def recipe(tmp_path: Path, old: PackedDataset, n_train: int, loss: str = "softmax") -> TrainConfig:
    file = tmp_path / "recipe.toml"
    write_recipe(
        file,
        "mine-1",
        "tiny/3",
        n_train=n_train,
        n_usable=n_train,
        old=OldPairs(old, "no data set"),
        loss=loss,
    )
    return read_config(file, start_tables=lambda _: model_tables(small_recipe()))


@pytest.mark.parametrize("n_train", [16, 80, 800, 4_000, 50_000])
def test_every_batch_is_filled_from_the_pairs_and_half_of_it_is_old(tmp_path, shipped, n_train):
    config = recipe(tmp_path, shipped, n_train)
    assert config.start is not None
    assert config.start.source == "tiny/3"
    assert config.n_own <= n_train
    assert config.rehearsed == {"old": config.n_own}
    assert config.data.rehearsal["old"].data == str(shipped.path)


def planned(n: int) -> int:
    """Pictures that all models of a refresh of n pairs show in their batches."""
    n_train, n_folds = (n, 5) if n < MIN_OWN_PAIRS else (n - n // 5, 0)
    return n_models(n_folds) * steps_of(n_train, n) * own_of_batch(n_train)


def test_the_cost_grows_smoothly_with_the_pairs_also_where_folds_end():
    sizes = range(20, 2_001)
    costs = [planned(n) for n in sizes]
    ratios = [after / before for before, after in pairwise(costs)]
    assert min(ratios) > 1 / 1.3
    assert max(ratios) < 1.05
    assert planned(2_000) < 2 * planned(20)


def test_more_pairs_are_trained_on_for_longer_but_each_is_shown_less_often(tmp_path, shipped):
    few, many = (recipe(tmp_path, shipped, n) for n in (200, 10_000))
    assert many.run.steps > few.run.steps
    assert many.run.steps * many.n_own / 10_000 < few.run.steps * few.n_own / 200


@pytest.mark.parametrize(
    ("image_kind", "locked", "is_cached", "adapted"),
    [
        ("photographs_and_drawings", 1, True, False),
        ("vit", "all", False, True),
        ("pooled_vit", "all", False, True),
        ("resnet", 0, False, False),
    ],
)
def test_what_learns_follows_from_the_kind_of_the_image_tower(
    tmp_path, shipped, image_kind, locked, is_cached, adapted
):
    file = tmp_path / "a.toml"
    write_recipe(file, "a-1", "tiny/3", n_train=80, n_usable=80, old=OldPairs(shipped), image_kind=image_kind)
    written = tomllib.loads(file.read_text())
    assert (written["lock"].get("image", 0), written["lock"].get("cache", False)) == (locked, is_cached)
    assert ("lora" in written) == adapted


def test_the_old_model_teaches_unless_its_loss_gives_no_probabilities(tmp_path, shipped):
    config = recipe(tmp_path, shipped, 100)
    assert config.distill is not None
    assert config.distill.teachers == ("tiny/3",)
    assert recipe(tmp_path, shipped, 100, "sigmoid").distill is None


def test_the_data_set_of_the_old_model_is_rehearsed_if_it_is_there(tmp_path, shipped, manifest):
    whole = PackedDataset(tmp_path / "data", "pictograms", manifest.image.size, {"icons": OLD})
    write_index(whole)
    old = old_pairs(whole.path, manifest, shipped)
    assert old == OldPairs(whole)
    assert str(old) == f"rehearses the data set of the old model: {whole.path}, 200 pairs"

"""The card of a model of photographs and drawings."""

from dataclasses import replace
from pathlib import Path

from diptych_training.checkpoint import TrainedRun, load_run
from diptych_training.config import TrainConfig
from diptych_training.config.start import ImageStartConfig
from diptych_training.export.model_card.card import model_card
from diptych_training.export.model_card.licence import Licence
from diptych_training.export.model_card.quality import NO_ASSETS, CardAssets
from diptych_training.provenance import collect_provenance
from support.tiny_run import TINY_PAIR, write_tiny_dataset, write_tiny_run


def aligned_run(home: Path, classes: str) -> TrainedRun:
    run = load_run(write_tiny_run(home / "run", image=TINY_PAIR))
    start = ImageStartConfig(source="lite.pth", classes=classes, drawings="pictograms")
    config = run.config.model_copy(update={"start_image": start})
    learned = collect_provenance(
        write_tiny_dataset(home / "data", n_icons=3), config, {"pictograms/5": "MIT", "lite.pth": "MIT"}
    )
    return replace(run, config=config, provenance=learned)


def card_of(run: TrainedRun, config: TrainConfig | None = None, assets: CardAssets = NO_ASSETS) -> str:
    assert run.provenance is not None
    run = run if config is None else replace(run, config=config)
    return model_card(
        "m", run, run.provenance.own, {}, None, checkpoint="best", licence=Licence("MIT"), ungated=False,
        assets=assets,
    )  # fmt: skip


def test_a_card_names_both_towers_that_the_run_started_from(tmp_path):
    said = (
        "starting from the image tower of `lite.pth` for photographs and that of `pictograms/5` for drawings,"
    )
    assert said in card_of(aligned_run(tmp_path, "imagenet"))


def test_a_card_speaks_of_imagenet_only_if_the_classes_are_its(tmp_path):
    card = card_of(aligned_run(tmp_path, "imagenet"))
    assert "things in photographs that ImageNet's 1,000 classes name" in card
    assert "species that ImageNet lacks are found by what they resemble" in card
    assert "118 breeds of dogs" in card
    card = card_of(aligned_run(tmp_path / "own", "my-classes.txt"))
    assert "things in photographs that the 5 classes of its classifier name" in card
    assert "Things that are in none of these classes are found by what they resemble" in card
    assert "ImageNet" not in card
    assert "breeds" not in card


def test_a_refresh_of_a_model_with_five_classes_does_not_speak_of_imagenet(tmp_path):
    run = aligned_run(tmp_path, "my-classes.txt")
    card = card_of(run, run.config.model_copy(update={"start_image": None}))
    assert "the 5 classes of its classifier" in card
    assert "ImageNet" not in card


def test_a_card_shows_failures_as_pictures_where_they_were_evaluated(tmp_path):
    run = aligned_run(tmp_path, "imagenet")
    card = card_of(run, assets=CardAssets(confusions=tmp_path / "any.png"))
    assert "The worst confusions on the sources of the tables above" in card
    assert "![Images with their right and wrong labels](confusions.png)" in card
    assert "confusions" not in card_of(run)

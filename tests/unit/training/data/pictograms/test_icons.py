import json
from pathlib import Path

import numpy as np
import pytest

from diptych_training.data.pictograms.icon_names import conventions_of, is_description
from diptych_training.data.pictograms.icon_set import IconSet, read_icon_set
from diptych_training.data.pictograms.icons import hyphenated_words, icon_drawings, listed_drawings
from diptych_training.data.pictograms.icon_names import WordSplitter
from diptych_training.data.pictograms.lists import EvalItem, SourceSpec
from diptych_training.data.pictograms.render import render
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


def test_declared_affixes_are_styles_and_numbers_say_nothing() -> None:
    conventions = conventions_of(["x"] * 100, ["24-filled", ""], ["baseline"])
    name = conventions.read("baseline-arrow-up-2-arrow-24-filled")
    assert (name.label, name.style) == ("arrow up 2", "filled baseline")
    assert conventions.read("cup-2").label == "cup"
    assert conventions.read("filled").label == "filled"


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


def test_hidden_icons_are_left_out_of_training_and_mirrored_aliases_are_icons(tmp_path: Path) -> None:
    icons = write_set(tmp_path, ["left"], aliases={"right": {"parent": "left", "hFlip": True}})
    icons.icons["old"] = {"body": LEFT_HALF, "hidden": True}
    assert list(icons.names()) == ["left", "right"]
    left, right = (render(icons.svg(name).encode(), 8) for name in ("left", "right"))
    assert left[:, :4].max() == 0
    assert left[:, 4:].min() == 255
    assert np.array_equal(right, left[:, ::-1])


def test_quarter_turn_turns_clockwise(tmp_path: Path) -> None:
    icons = write_set(tmp_path, ["left"], aliases={"up": {"parent": "left", "rotate": 1}})
    left, up = (render(icons.svg(name).encode(), 8) for name in ("left", "up"))
    assert np.array_equal(up, np.rot90(left, -1))


def test_set_without_hyphens_teaches_no_words(tmp_path: Path) -> None:
    assert list(hyphenated_words(write_set(tmp_path, ["squareheart", "cup"]))) == []
    assert sorted(hyphenated_words(write_set(tmp_path, ["square-2", "square-cup"]))) == [
        "cup",
        "square",
        "square",
    ]


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


def test_file_that_is_no_icon_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text('{"prefix": "tiny"}')
    with pytest.raises(DataError, match=r"tiny.json is not an icon set: 'icons'"):
        read_icon_set(tmp_path / "tiny.json")

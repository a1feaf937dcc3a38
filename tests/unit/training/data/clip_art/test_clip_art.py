"""Clip art of a Debian package as a packed data set."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from diptych_training.cli import main
from diptych_training.data.clip_art.command import build_clip_art, split_of
from diptych_training.data.clip_art.names import item_of
from diptych_training.data.clip_art.page import render_page
from diptych_training.data.packed import read_dataset
from diptych_training.errors import DataError
from support.fake_debian import FakeDebian

LICENCE = '<cc:License rdf:about="http://web.resource.org/cc/PublicDomain">'
GRADIENT = (
    '<linearGradient id="g"><stop offset="0"/></linearGradient><rect fill="url(#g)" width="9" height="9"/>'
)


def svg(body: str = "", title: str = "", author: str = "Jo Smith", licence: str = LICENCE) -> str:
    work = f'<cc:Work rdf:about=""><dc:title>{title}</dc:title><rdf:li>pet</rdf:li><rdf:li/>'
    creator = f"<dc:creator><cc:Agent><dc:title>{author}</dc:title></cc:Agent></dc:creator>"
    names = " ".join(f'xmlns:{prefix}="urn:{prefix}"' for prefix in ("cc", "dc", "rdf"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {names} width="210mm" height="297mm"><metadata>{work}'
        f"{creator}</cc:Work>{licence.replace('>', '/>')}</metadata>{body}</svg>"
    )


def test_a_name_is_without_numbers_and_the_artist() -> None:
    item = item_of(PurePosixPath("animals/big_cat_03_jo_smi_01.svg"), svg(title="The Tiger"))
    assert item is not None
    assert (item.label, item.captions, item.keywords) == ("big cat", ("the tiger",), ("pet", "animals"))


@pytest.mark.parametrize(
    "title", ["Clipart by Jo Smith - a cat", "Various Cliparts", "one two three four five six x"]
)
def test_titles_of_collections_and_remarks_are_no_captions(title: str) -> None:
    item = item_of(PurePosixPath("animals/cat.svg"), svg(title=title))
    assert item is not None
    assert item.captions == ()


@pytest.mark.parametrize(
    ("path", "licence"), [("animals/01.svg", LICENCE), ("animals/cat.svg", "<cc:License>")]
)
def test_a_drawing_without_a_name_or_licence_is_left_out(path: str, licence: str) -> None:
    assert item_of(PurePosixPath(path), svg(licence=licence)) is None


def test_a_drawing_fills_the_image_wherever_it_is_on_its_page() -> None:
    pixels = render_page(svg('<rect x="300" y="700" width="300" height="300"/>').encode(), 64)
    assert pixels.shape == (64, 64, 3)
    assert (pixels[8:-8, 8:-8] < 20).all()
    assert (pixels[[0, -1]] == 255).all()


def test_an_empty_page_is_white() -> None:
    assert (render_page(svg().encode(), 32) == 255).all()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package as Debian's: of each style a name for either part, and a theme of icons."""
    library = tmp_path / "package" / "usr/share/openclipart/svg"
    words = [f"cat {a}{b}" for a in "abcdefghijk" for b in "abcdefghijk"]
    held_out, kept = (
        next(word for word in words if split_of(word) == split) for split in ("validation", "train")
    )
    for style, body in (("flat", '<rect width="9" height="9"/>'), ("shaded", GRADIENT)):
        for word in (held_out, kept):
            file = library / "animals" / style / f"{word.replace(' ', '_')}_01.svg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(svg(body))
    theme = library / "computer" / "icons" / "printer.svg"
    theme.parent.mkdir(parents=True)
    theme.write_text(svg(GRADIENT))
    return tmp_path / "package"


def test_each_style_is_a_source_with_part_of_its_names_held_out(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeDebian(tmp_path, monkeypatch)
    out = tmp_path / "out"
    assert main(["data", "clip-art", "--out", str(out), "--size", "32"]) == 0
    assert (tmp_path / "asked").read_text() == "download openclipart-svg\n"
    assert "1 shaded-validation" in capsys.readouterr().out
    dataset = read_dataset(out)
    assert {name: entry.n for name, entry in dataset.entries.items()} == {
        "flat-train": 1, "shaded-train": 1, "flat-validation": 1, "shaded-validation": 1
    }  # fmt: skip
    assert dataset.source("shaded-train").licence == "CC0-1.0"
    assert np.ptp(dataset.source("flat-train").images) > 20  # of a page
    assert package.is_dir()


def test_a_package_without_clip_art_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no flat clip art for train: another version"):
        build_clip_art(tmp_path, tmp_path / "out", 32)

"""Nouns, definitions and synonyms of WordNet as files of texts."""

from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.data.wordnet.command import write_synonyms, write_texts
from support.fake_debian import FakeDebian

SYNSETS = """\
  1 This software and database is being provided to you
00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 ~ 00002137 n 0000 ~ 04424418 n 0000 | that which is perceived
02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 001 @ 02083346 n 0 | a member of the genus Canis; \
"the dog barked all night"
10114209 18 n 02 dog 0 frump 0 000 | a dull unattractive unpleasant girl or woman
00007846 03 n 0b a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 k 0 000 | eleven names
"""

INDEX = """\
  1 This software and database is being provided to you
canis_familiaris n 1 1 @ 1 0 02084071
dog n 2 1 @ 2 1 02084071 10114209
domestic_dog n 1 1 @ 1 0 02084071
entity n 1 1 ~ 1 1 00001740
frump n 1 0 1 0 10114209
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An unpacked package as Debian's."""
    return write_package(tmp_path / "package", SYNSETS)


def write_package(folder: Path, synsets: str) -> Path:
    for name, content in (
        ("share/wordnet/data.noun", synsets),
        ("share/wordnet/index.noun", INDEX),
        ("share/doc/wordnet-base/copyright", "License: WordNet3.0\n"),
    ):
        (folder / "usr" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "usr" / name).write_text(content)
    return folder


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def test_each_noun_is_a_line_with_spaces_between_its_words(package: Path, tmp_path: Path) -> None:
    assert write_texts(package, tmp_path / "out")[0] == 16
    nouns = lines(tmp_path / "out" / "nouns.txt")
    assert " ".join(nouns) == "Canis familiaris a b c d dog domestic dog e entity f frump g h i j k"


def test_definitions_come_without_examples(package: Path, tmp_path: Path) -> None:
    assert write_texts(package, tmp_path / "out", n_words=6)[1] == 3
    assert lines(tmp_path / "out" / "glosses.txt") == [
        "a member of the genus Canis",
        "eleven names",
        "that which is perceived",
    ]


def test_synonyms_share_the_first_sense_of_both(package: Path, tmp_path: Path) -> None:
    assert write_synonyms(package, tmp_path / "out") == 3
    assert lines(tmp_path / "out" / "synonyms.tsv") == [
        "Canis familiaris\tdog\tdomestic dog",
        "dog\tdomestic dog\tCanis familiaris",
        "domestic dog\tdog\tCanis familiaris",
    ]


def test_the_package_is_fetched_and_its_licence_lies_beside_the_texts(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert package.is_dir()
    FakeDebian(tmp_path, monkeypatch)
    assert main(["data", "wordnet", "--out", str(tmp_path / "out"), "--words", "6"]) == 0
    assert (tmp_path / "asked").read_text() == "download wordnet-base\n"
    assert "glosses.txt: 3 definitions" in capsys.readouterr().out
    assert "WordNet3.0" in (tmp_path / "out" / "COPYRIGHT").read_text()

"""One icon set as a data set of its own."""

import json
from pathlib import Path

import numpy as np
import pytest

from diptych_training.cli import main
from diptych_training.data.pictograms.icon_set_command import split_of
from diptych_training.data.packed import read_dataset

WORDS = [
    f"{one}-{other}"
    for one in ("red", "big", "old", "wet", "hot")
    for other in ("box", "cup", "hat", "key", "owl")
]


def write_set(path: Path, names: list[str], prefix: str = "mine") -> str:
    icons = {
        name: {"body": f'<rect x="{i % 5}" y="{i // 5}" width="9" height="9" fill="currentColor"/>'}
        for i, name in enumerate(names)
    }
    path.write_text(json.dumps({"prefix": prefix, "icons": icons, "width": 16, "height": 16}))
    return str(path)


def test_a_set_becomes_three_parts_that_share_no_icon(tmp_path, capsys):
    file = write_set(tmp_path / "mine.json", WORDS)
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


@pytest.mark.parametrize(
    ("names", "message"),
    [(["red-box"], "1 icons are too few: no icon is left for"), ([], "0 icons are too few")],
)
def test_a_set_that_cannot_be_split_is_refused(tmp_path, capsys, names, message):
    file = write_set(tmp_path / "mine.json", names)
    assert main(["data", "icon-set", file, "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err


def test_another_data_set_is_not_written_over(tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert main(["data", "icon-set", write_set(tmp_path / "mine.json", WORDS), *out]) == 0
    assert main(["data", "icon-set", write_set(tmp_path / "other.json", WORDS, "other"), *out]) == 1
    assert "holds 'mine', not 'other'" in capsys.readouterr().err
    assert main(["data", "icon-set", str(tmp_path / "mine.json"), *out]) == 0


def test_a_file_that_is_no_icon_set_is_one_line(tmp_path, capsys):
    (tmp_path / "mine.json").write_text("{}")
    assert main(["data", "icon-set", str(tmp_path / "mine.json"), "--out", str(tmp_path / "out")]) == 1
    assert "mine.json is not an icon set" in capsys.readouterr().err

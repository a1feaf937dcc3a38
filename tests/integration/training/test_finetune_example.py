"""The worked example of docs/fine-tuning.md, at small size: a model of drawings learns pictures new to it.

Its very commands are run, with a small model of random weights as `pictograms`, another icon set and folders
of the test.
"""

import itertools
import json
import shlex
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych_training.cli import main
from support.documents import ROOT
from support.tiny_run import write_tiny_dataset, write_tiny_run

START = "pictograms"

SHAPES = {
    "zorb": '<circle cx="8" cy="8" r="6" {}/>',
    "kesh": '<rect x="2" y="2" width="12" height="12" {}/>',
    "tulm": '<path d="M8 1 15 15H1z" {}/>',
    "fraw": '<path d="M1 6h14v4H1z" {}/>',
    "dilp": '<path d="M6 1h4v14H6z" {}/>',
    "vask": '<path d="M8 1 15 8 8 15 1 8z" {}/>',
}
FILLS = {
    "ompa": "#d00", "irel": "#0a0", "sudo": "#00d", "lanx": "#dd0", "quen": "#0cc", "pyth": "#c0c",
    "grum": "#000", "weft": "#888", "hoba": "#f80", "jink": "#840",
}  # fmt: skip
FROM_RANDOM_WEIGHTS = (
    "run.steps=150",
    "lock.text=0",
    "lock.statistics=false",
    "optim.layer_decay=1",
    "optim.lr=3e-3",
)
SMALL = {
    "train": [word for change in FROM_RANDOM_WEIGHTS for word in ("--set", change)],
    "export": ["--ungated"],
}


def invented_icons(path: Path) -> str:
    """Sixty icons whose names are a word for the shape and a word for the colour."""
    icons = {
        f"{shape}-{fill}": {"body": SHAPES[shape].format(f'fill="{FILLS[fill]}"')}
        for shape, fill in itertools.product(SHAPES, FILLS)
    }
    path.write_text(json.dumps({"prefix": "invented", "icons": icons, "width": 16, "height": 16}))
    return str(path)


def placed(word: str, places: dict[str, str]) -> str:
    """A word of a command, or what a `key=value` says, as it is here."""
    key, separator, value = word.rpartition("=")
    return f"{key}{separator}{places.get(value, value)}"


def commands(home: Path) -> list[list[str]]:
    """The example's command lines, for this machine."""
    section = (
        (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8").split("## Teach it your icons\n")[1]
    )
    block = section.split("```console\n")[1].split("```")[0].replace("\\\n", " ")
    places = {
        "dinkie-icons": str(home / "invented.json"),
        "~/.cache/diptych/dinkie": str(home / "new"),
        "~/.cache/diptych/pictograms": str(home / "old"),
        "dinkie": str(home / "runs" / "dinkie"),
        "dinkie-mixed": str(home / "runs" / "dinkie-mixed"),
    }
    lines = []
    for line in block.splitlines():
        words = shlex.split(line.removeprefix("$ diptych-train "))
        named = [words[i - 1] == "--name" for i in range(len(words))]
        lines.append(
            [word if is_name else placed(word, places) for word, is_name in zip(words, named, strict=True)]
        )
        lines[-1] += SMALL.get(words[0], [])
    return lines


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_worked_example_teaches_a_model_and_says_what_it_cost(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIPTYCH_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path / "old"))
    monkeypatch.setenv("DIPTYCH_MODEL_REPO", str(tmp_path / "models"))
    invented_icons(tmp_path / "invented.json")
    write_tiny_dataset(tmp_path / "old", n_icons=40, size=64)
    small = write_tiny_run(tmp_path / "small")
    assert main(["export", "--run", str(small), "--name", START, "--ungated", "--no-optimise"]) == 0

    for command in commands(tmp_path):
        assert main(command) == 0, (command, capsys.readouterr().err)

    comparison = json.loads(
        (tmp_path / "runs" / "dinkie" / "evaluation-eval" / "comparison.json").read_text()
    )
    new, old = comparison["measured"]
    before, after = (new[side]["sources"][0]["all"]["zero_shot"]["1"] for side in ("before", "after"))
    assert after >= before + 0.3  # twelve held-out pictures: each is a known shape in a known colour
    assert {source["source"] for source in old["after"]["sources"]} == {"new-set", "new-style"}
    mixed = json.loads(
        (tmp_path / "runs" / "dinkie-mixed" / "evaluation-eval" / "comparison.json").read_text()
    )
    assert mixed["measured"][0]["before"]["sources"] == new["before"]["sources"]
    manifest = ModelRepository(tmp_path / "models").manifest("icons", 1)
    assert manifest.source["started_from"] == START
    assert manifest.source["rehearsed"] == {"old": 0.5}
    assert manifest.source["interpolated"] == {"alpha": 0.5, "run": "dinkie"}
